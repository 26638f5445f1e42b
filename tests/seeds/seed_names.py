"""Every name that users of the five systems know: the module of deepgraph where it is, attributes behind a dot."""

from __future__ import annotations

__all__ = ["NAMES"]

LAYERED = """first_layer last_layer num_layers first_layer_size last_layer_size layers get_layer get_vertices
get_layer_size layer_connected layer_connection_size save load load_from"""
LABELED = "add_vertex add_vertices add_edge index_in_layer append"

NAMES: dict[str, dict[str, str]] = {
    "deepstruct": {
        "deepgraph.graph": "LayeredGraph CachedLayeredGraph LabeledDAG uniform_proportions build_layer_index "
        + " ".join(f"CachedLayeredGraph.{name}" for name in LAYERED.split())
        + " " + " ".join(f"LabeledDAG.{name}" for name in LABELED.split()),
        "deepgraph.sparse": """MaskableModule MaskableModule.apply_mask MaskableModule.recompute_mask
            MaskableModule.reset_parameters MaskableModule.maskable_children MaskableModule.maskable_children_with_name
            MaskedLinearLayer MaskedLinearLayer.mask MaskedLinearLayer.saliency MaskedLinearLayer.get_weight_count
            MaskedLinearLayer.__getitem__ maskable_layers maskable_layers_with_name prunable_layers
            prunable_layers_with_name MaskedDeepFFN MaskedDeepDAN MaskedDeepDAN.generate_structure DeepCellDAN
            CachedLayeredGraph""",
        "deepgraph.recurrent": """MaskedRecurrentLayer MaskedGRULayer MaskedLSTMLayer MaskedLSTMLayer.set_i2h_mask
            MaskedLSTMLayer.set_h2h_mask MaskedDeepRNN MaskedDeepRNN.apply_mask""",
        "deepgraph.scalable": """ScalableDeepFFN ScalableDeepFFN.draw ScalableDeepFFN.build
            ScalableDeepFFN.entropy_similarity ScalableDAN ScalableDAN.grow ScalableDAN.scale ScalableDAN.build
            ScalableDAN.model""",
        "deepgraph.transform": "GraphTransform GraphTransform.transform LinearLayerFunctor Conv2dLayerFunctor",
        "deepgraph.pruning": """prune_network_by_saliency prune_layer_by_saliency PruningStrategy
            PruningStrategy.PERCENTAGE PruningStrategy.ABSOLUTE PruningStrategy.BUCKET set_random_saliency
            set_distributed_saliency""",
        "deepgraph.dataset": "FuncDataset",
        "deepgraph": "grow",
    },
    "deeprewire": {
        "deepgraph.rewire": "DEEPR SoftDEEPR",
        "deepgraph.compat.deeprewire": """convert_to_deep_rewireable convert_from_deep_rewireable convert reconvert
            DEEPR SoftDEEPR SoftDEEPRWrapper measure_sparsity""",
    },
    "actuallysparse": {
        "deepgraph.converter": "convert convert_model",
        "deepgraph.sparse": """SparseLayer SparseLayer.weight SparseLayer.values SparseLayer.bias
            SparseLayer.assign_new_weight SparseLayer.set_k SparseLayer.prune_smallest_values SparseLayer.switch_to_CSR
            SparseLayer.switch_to_COO SparseLayer.is_CSR set_global_k prune_sparse_model""",
    },
    "fastsparse": {
        "deepgraph.integrations.fastai": """sparsify_model uniform_sparsity first_layer_dense_uniform
            erdos_renyi_sparsity erdos_renyi random_score weight_magnitude gradient_magnitude gradient_momentum
            momentum_redistribution init_kaiming_normal_sparse_ SET_presets SNFS_presets RigL_presets RigL_kwargs
            count_flops FlopsCounter FlopsCounter.sparse DynamicSparseTraining""",
    },
    "aslp": {
        "deepgraph.supermask": """add_masks ASLPMask BernoulliMask EdgePopupMask mask_density mask_optimizer
            prune_masked signed_constant_""",
    },
}  # fmt: skip
