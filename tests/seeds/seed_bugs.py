"""What earlier systems do wrong, and the test that such a behaviour would fail here, one line a bug."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BUGS", "Bug"]


class Bug(NamedTuple):
    """A bug of a system, and where it is tested."""

    system: str
    what: str
    test: str


HERE, MASKS, THETA = "tests/seeds/test_seed_bugs.py", "tests/sparse/test_maskable.py", "tests/rewire/test_rewireable.py"
CONVERTER, FAST, SUPER = "tests/test_converter.py", "tests/compat/test_fastsparse.py", "tests/test_supermask.py"

BUGS = [
    Bug("deepstruct", "ReLU per skip block", f"{HERE}::test_one_activation_of_the_sum_of_all_inputs"),
    Bug("deepstruct", "sinks before the last layer get no gradient", f"{HERE}::test_sinks_before_the_last_layer_learn"),
    Bug("deepstruct", "one dense matrix per pair of layers", f"{HERE}::test_three_hundred_nodes_are_three_edge_layers"),
    Bug("deepstruct", "layer index recursive", f"{HERE}::test_layers_of_a_chain_are_found_without_recursion"),
    Bug("deepstruct", "layer index quadratic", f"{HERE}::test_layers_take_one_pass_over_the_edges"),
    Bug("deepstruct", "layer index stale after remove_edge", f"{HERE}::test_layers_are_those_of_the_edges_there_are"),
    Bug("deepstruct", "mask setter takes any shape", f"{MASKS}::test_masks_of_another_shape_or_content_are_refused"),
    Bug("deepstruct", "learnable masks start all-off and get no gradient",
        f"{MASKS}::test_learned_masks_start_on_and_get_gradients"),
    Bug("deepstruct", "weight decay moves masked weights", f"{MASKS}::test_optimizers_never_move_masked_weights"),
    Bug("deepstruct", "recompute_mask resurrects masked weights",
        f"{MASKS}::test_recompute_keeps_masked_what_is_masked"),
    Bug("deepstruct", "nested modules missed", f"{MASKS}::test_nested_layers_are_found_once_each"),
    Bug("deeprewire", "the bound on connections is violated",
        f"{THETA}::test_the_bound_is_met_exactly_at_every_step"),
    Bug("deeprewire", "step() can loop for ever", f"{THETA}::test_the_bound_is_met_exactly_at_every_step"),
    Bug("deeprewire", "candidates with replacement",
        f"{THETA}::test_candidates_are_drawn_uniformly_without_replacement"),
    Bug("deeprewire", "the negative bias is in neither list", f"{THETA}::test_every_parameter_is_in_exactly_one_list"),
    Bug("deeprewire", "closures break deepcopy and pickle", f"{THETA}::test_converted_models_are_copied_and_pickled"),
    Bug("deeprewire", "MultiheadAttention changes its output", f"{THETA}::test_attention_keeps_its_output"),
    Bug("deeprewire", "noise 10^4 times the authors'",
        f"{THETA}::test_noise_is_the_authors_unless_a_temperature_is_given"),
    Bug("actuallysparse", "CSR does not train, COO trains densely",
        f"{CONVERTER}::test_both_formats_train_and_sparsely"),
    Bug("actuallysparse", "nested models", f"{CONVERTER}::test_nested_models_are_converted_in_a_copy"),
    Bug("actuallysparse", "3-D inputs", f"{CONVERTER}::test_a_converted_layer_computes_the_same"),
    Bug("actuallysparse", "silent transpose", f"{CONVERTER}::test_new_weights_are_checked"),
    Bug("actuallysparse", "the optimizer loses the weights after pruning",
        f"{CONVERTER}::test_the_optimizer_keeps_working_after_pruning"),
    Bug("actuallysparse", "k never refers to what is left",
        f"{CONVERTER}::test_k_is_a_share_of_all_or_of_what_is_left"),
    Bug("fastsparse", "momentum reset inverted",
        f"{HERE}::test_momentum_of_kept_edges_stays_and_of_grown_ones_is_zero"),
    Bug("fastsparse", "stale gradients after a rewire",
        f"{HERE}::test_a_step_after_an_edit_takes_its_own_gradient_only"),
    Bug("fastsparse", "conv init 9x too large", f"{FAST}::test_initialisation_keeps_the_scale_of_signals"),
    Bug("fastsparse", "LSTMs crash", f"{FAST}::test_every_kind_of_module_becomes_sparse"),
    Bug("fastsparse", "attention's in_proj stays dense", f"{FAST}::test_every_kind_of_module_becomes_sparse"),
    Bug("aslp", "signed constant has no effect on Linear", f"{SUPER}::test_signed_constants_on_every_layer"),
    Bug("aslp", "edge-popup with signed constant crashes",
        f"{SUPER}::test_every_combination_trains_scores_only_and_prunes"),
    Bug("aslp", "evaluation stays stochastic", f"{SUPER}::test_evaluation_is_deterministic_and_draws_nothing"),
    Bug("aslp", "GPU only", "tests/seeds/test_seed_texts.py::test_aslp_commands"),
]  # fmt: skip
