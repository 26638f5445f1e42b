"""Names of the five systems: where they are, what the pages say of them, and the signatures that their users know."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from seed_names import NAMES
from torch import nn

import deepgraph as dg
from deepgraph.compat import deeprewire
from deepgraph.integrations import fastai
from deepgraph.recurrent import MaskedDeepRNN
from deepgraph.scalable import ScalableDAN, ScalableDeepFFN
from deepgraph.sparse import DeepCellDAN, MaskedLinearLayer, SparseLayer

DOCS = Path(__file__).parents[2] / "docs" / "coming-from"
EVERY = [(system, module, name) for system, m in NAMES.items() for module, names in m.items() for name in names.split()]


@pytest.mark.parametrize(("system", "module", "name"), EVERY, ids=lambda part: part.removeprefix("deepgraph."))
def test_a_name_is_where_it_is_said_to_be(system: str, module: str, name: str) -> None:
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    page = (DOCS / f"{system}.md").read_text(encoding="utf-8")
    last = name.split(".")[-1]
    assert last in page or (last == "__getitem__" and "layer[i, j]" in page), f"{name} is not on the page of {system}"


def first(function: Any) -> list[str]:
    """Names of the parameters that may be given by position."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds and p.name != "self"]


def defaults(function: Any) -> dict[str, Any]:
    """The defaults of those that have one."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (MaskedLinearLayer, "in_feature out_features bias keep_layer_input mask_as_params"),
        (dg.MaskedDeepFFN, "size_input size_output hidden_layers use_layer_norm"),
        (dg.MaskedDeepDAN, "size_input size_output structure use_layer_norm"),
        (dg.MaskedDeepDAN.generate_structure, "include_input include_output"),
        (DeepCellDAN, "num_classes input_channel_size cell_constructor structure"),
        (MaskedDeepRNN, "size_input hidden_layers build_recurrent_layer nonlinearity batch_first"),
        (MaskedDeepRNN.apply_mask, "threshold i2h h2h"),
        (ScalableDeepFFN, "proportions"),
        (ScalableDAN, "structure proportion_map"),
        (SparseLayer, "in_features out_features bias csr_mode train_mode k"),
        (deeprewire.convert_to_deep_rewireable, "module handle_biases active_probability keep_signs"),
        (deeprewire.DEEPR, "params nc lr l1 reset_val temp"),
        (deeprewire.SoftDEEPR, "params lr l1 temp min_weight"),
        (deeprewire.SoftDEEPRWrapper, "params base_optim_class l1 temp min_weight"),
        (fastai.sparsify_model, "model model_sparsity sparse_f sparse_init_mode enforce_mask"),
        (fastai.erdos_renyi_sparsity, "params model_sparsity include_kernel erk_power_scale"),
    ],
    ids=lambda part: getattr(part, "__qualname__", None),
)
def test_parameters_come_in_the_known_order(function: Any, names: str) -> None:
    assert first(function)[: len(names.split())] == names.split()


def test_known_defaults() -> None:
    assert defaults(SparseLayer) | {"csr_mode": False, "train_mode": True, "k": 0.05} == defaults(SparseLayer)
    assert defaults(deeprewire.DEEPR) | {"lr": 0.05, "l1": 1e-4, "reset_val": 0.0, "temp": None} == defaults(
        deeprewire.DEEPR
    )
    assert defaults(deeprewire.SoftDEEPR) | {"lr": 0.05, "l1": 1e-5, "min_weight": None} == defaults(
        deeprewire.SoftDEEPR
    )
    assert defaults(fastai.erdos_renyi_sparsity) == {"include_kernel": True, "erk_power_scale": 1.0}
    kept = {"handle_biases": "second_bias", "active_probability": None, "keep_signs": False}
    assert defaults(deeprewire.convert_to_deep_rewireable) | kept == defaults(deeprewire.convert_to_deep_rewireable)


def test_layers_are_connected_in_either_order_and_not_with_themselves() -> None:
    g = dg.CachedLayeredGraph([(0, 1), (1, 2), (0, 2)])
    assert g.layer_connected(2, 0)
    assert g.layer_connection_size(0, 2) == g.layer_connection_size(2, 0) == 1
    for ask in (g.layer_connected, g.layer_connection_size):
        with pytest.raises(ValueError, match="layer"):
            ask(1, 1)


def test_graphml_keeps_the_order_of_nodes(tmp_path: Path) -> None:
    g = dg.CachedLayeredGraph()
    g.add_nodes_from(["c", "a", "b"])
    g.add_edges_from([("a", "c"), ("c", "b")])
    g.save(str(tmp_path / "g.graphml"))
    assert list(dg.CachedLayeredGraph.load_from(str(tmp_path / "g.graphml"))) == ["c", "a", "b"]


def test_shapes_are_flattened() -> None:
    structure = nx.DiGraph([(0, 2), (1, 2), (1, 3)])
    for shape in ((2, 3), torch.Size([2, 3])):
        for model in (dg.MaskedDeepFFN(shape, 2, [4]), dg.MaskedDeepDAN(shape, 2, structure)):
            assert model(torch.zeros(5, 2, 3)).shape == (5, 2)


def test_a_layer_is_indexed_with_its_mask() -> None:
    layer = MaskedLinearLayer(3, 2, keep_layer_input=True)
    layer.mask = torch.tensor([[1, 0, 0], [0, 1, 1]])
    assert layer[0, 1] == 0
    assert torch.equal(layer[1, 2], layer.weight[1, 2])
    assert layer[:].shape == (2, 3)
    assert isinstance(layer, nn.Linear)
