"""SparseConv1d and SparseConv2d: torch's convolutions with zeros are the reference."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.errors import ArgumentError, DtypeError, EditRefusedError, ShapeError, UnsupportedOperationError
from deepgraph.sparse import edge_values

STORAGES = ["csr", "masked"]
SHAPES = {
    "plain": {"kernel_size": 3},
    "same": {"kernel_size": (3, 2), "padding": "same"},
    "valid": {"kernel_size": 2, "padding": "valid", "groups": 2},
    "strided": {"kernel_size": 3, "stride": (2, 1), "padding": 1, "groups": 2, "bias": False},
    "dilated": {"kernel_size": 2, "dilation": 2, "padding": (0, 2)},
    "reflect": {"kernel_size": 3, "padding": (1, 2), "padding_mode": "reflect"},
    "circular same": {"kernel_size": 3, "padding": "same", "padding_mode": "circular", "dilation": 2},
    "replicate": {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"},
}


def dense_twin(model):
    """Return torch's convolution of the same options and weights."""
    options = {key: model._config[key] for key in ("stride", "padding", "dilation", "groups", "bias", "padding_mode")}
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    kind = nn.Conv1d if isinstance(model, dg.SparseConv1d) else nn.Conv2d
    twin = kind(model.in_channels, model.out_channels, model.kernel_size, **options).double()
    with torch.no_grad():
        twin.weight.copy_(model.dense_weight())
        if model.layer.bias is not None:
            twin.bias.copy_(model.layer.bias.normal_())
    return twin


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", SHAPES)
def test_results_and_gradients_are_those_of_torch(kind, storage):
    model = dg.SparseConv2d(4, 6, density=0.4, storage=storage, seed=0, dtype=torch.float64, **SHAPES[kind])
    twin = dense_twin(model)
    x = torch.randn(3, 4, 7, 8, dtype=torch.float64)
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, wanted = model(leaf), twin(other)
    torch.testing.assert_close(y, wanted)
    y.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad)
    src, dst = model.layer.edge_set.pairs()
    torch.testing.assert_close(model.layer.edges.gradient(), twin.weight.grad.reshape(6, -1)[dst.copy(), src.copy()])
    if storage == "masked":
        assert not model.layer.weight.grad[~model.layer.edges.mask()].any()
    if twin.bias is not None:
        torch.testing.assert_close(model.layer.bias.grad, twin.bias.grad)


@pytest.mark.parametrize("storage", STORAGES)
def test_sequences_are_convolved_too(storage):
    model = dg.SparseConv1d(4, 6, 3, 0.4, 2, 1, storage=storage, seed=0, dtype=torch.float64)
    x, twin = torch.randn(3, 4, 11, dtype=torch.float64), dense_twin(model)
    torch.testing.assert_close(model(x), twin(x))
    assert torch.autograd.gradcheck(lambda x, w: _with_weight(model, x, w), (x.requires_grad_(), _weight(model)))


def _weight(model):
    return model.layer.edges.values().requires_grad_()


def _with_weight(model, x, values):
    """Return the result as a function of the edge values."""
    weight = torch.zeros_like(model.layer.weight).view(-1).index_copy(0, model.layer.edges.index(), values)
    return torch.func.functional_call(model, {"layer.weight": weight.view_as(model.layer.weight)}, (x,))


def test_state_does_not_depend_on_storage_and_adopts_edges():
    first = dg.SparseConv2d(4, 6, 3, 0.3, storage="csr", seed=0)
    other = dg.SparseConv2d(4, 6, 3, 0.3, storage="masked", seed=1)
    other.load_state_dict(first.state_dict())
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(first(x), other(x))
    again = dg.SparseConv2d.from_config(first.config())
    again.load_state_dict(other.state_dict())
    assert torch.equal(again(x), first(x))
    for key, value in first.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value)


@pytest.mark.parametrize("storage", STORAGES)
def test_files_keep_a_convolution(storage, tmp_path):
    model = dg.SparseConv1d(4, 6, 3, 0.3, padding="same", storage=storage, seed=0)
    dg.save(model, tmp_path / "model")
    x = torch.randn(2, 4, 9)
    assert torch.equal(dg.load(tmp_path / "model")(x), model(x))


@pytest.mark.parametrize("storage", STORAGES)
def test_an_edit_reaches_the_module_and_is_refused_between_forward_and_backward(storage):
    model = dg.SparseConv2d(4, 6, 3, 0.3, storage=storage, seed=0)
    x = torch.randn(2, 4, 6, 6)
    twin = copy.deepcopy(model)
    src, dst = model.layer.edge_set.pairs()
    y = model(x)
    with pytest.raises(EditRefusedError, match="between a forward and its backward"):
        model.layer.edge_set.edit(drop=(src[:3], dst[:3]))
    y.sum().backward()
    model.graph.remove_edge(int(src[0]), 36 + int(dst[0]))
    assert model.dense_weight().reshape(6, -1)[dst[0], src[0]] == 0
    torch.testing.assert_close(model(x), torch.conv2d(x, model.dense_weight(), model.layer.bias))
    assert twin.num_edges == model.num_edges + 1
    kept = model(x).sum()
    with torch.no_grad():
        model(x)
    kept.backward()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("groups", [1, 2])
def test_extraction_gives_the_graph_of_the_same_sparsified_module(storage, groups):
    model = nn.Sequential(
        dg.SparseConv2d(2, 4, 3, 0.4, 2, 1, groups=groups, storage=storage, seed=0, dtype=torch.float64),
        nn.Tanh(),
        nn.Flatten(),
        dg.SparseLinear(36, 3, 0.2, seed=1, dtype=torch.float64),
    )
    values = edge_values(model)[0]
    # Edges of weight 0 are edges.
    values.set_values(torch.cat([values.values()[:-2], torch.zeros(2, dtype=torch.float64)]))
    plain = nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, 1, groups=groups), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)
    ).double()  # fmt: skip
    dg.sparsify(plain, 0.5, seed=0)
    for mine, other in zip(edge_values(model), edge_values(plain), strict=True):
        other.edge_set.edit(drop=other.edge_set.pairs(), grow=mine.edge_set.pairs())
        other.set_values(mine.values())
    for layer, module in ((model[0], plain[0]), (model[3], plain[3])):
        module.bias.data.copy_(layer.layer.bias)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    for order in (0, 1):
        got, wanted = dg.extract(model, x, order=order), dg.extract(plain, x, order=order)
        assert [a.tolist() for a in got.edge_arrays()] == [a.tolist() for a in wanted.edge_arrays()]
        np.testing.assert_allclose(got.column("weight"), wanted.column("weight"))
    again = dg.MaskedDeepDAN.from_graph(dg.extract(model, x), dtype=torch.float64)
    torch.testing.assert_close(again(x.flatten(1)), model(x))


def test_auto_goes_by_density_and_shape():
    stores = [
        dg.SparseConv2d(64, 64, 3, density, groups=groups, seed=0).layer.storage
        for density, groups in ((0.05, 1), (0.9, 1), (0.2, 64))
    ]
    numba = "csr" if "numba" not in str(dg.SparseConv2d(64, 64, 3, 0.05, storage="csr", seed=0).plan) else "masked"
    assert stores == [numba, "masked", "masked"]
    model = dg.SparseConv2d(8, 8, 3, 0.9, seed=0)
    assert "a dense convolution because 89.93% of the pairs are edges" in str(model.plan)


def test_meta_parameters_say_what_is_missing():
    model = dg.SparseConv2d(4, 6, 3, 0.3, storage="csr", seed=0)
    model.to("meta")
    assert model(torch.empty(2, 4, 6, 6, device="meta")).shape == (2, 6, 4, 4)
    with pytest.raises(UnsupportedOperationError, match="x: expected device meta as the model's, got cpu"):
        model(torch.zeros(2, 4, 6, 6))


def test_what_does_not_fit_is_refused():
    for options, message in (
        ({"kernel_size": 0}, "kernel_size: expected 2 integers from 1, or one for all, got 0"),
        ({"kernel_size": 3, "groups": 4}, "groups: expected a divisor of 6 and 4 channels, got 4"),
        ({"kernel_size": 3, "padding": "full"}, "padding: expected integers, 'same' or 'valid', got 'full'"),
        ({"kernel_size": 3, "padding": "same", "stride": 2}, "padding: expected numbers or 'valid' for stride"),
        ({"kernel_size": 3, "padding_mode": "mirror"}, "padding_mode: expected one of"),
        ({"kernel_size": 3, "density": 0}, r"density: expected a number in \(0, 1\]"),
    ):
        with pytest.raises(ArgumentError, match=message):
            dg.SparseConv2d(6, 4, **options)
    with pytest.raises(UnsupportedOperationError, match="storage: expected 'auto', 'csr' or 'masked', got 'coo'"):
        dg.SparseConv2d(6, 4, 3, storage="coo")
    model = dg.SparseConv1d(6, 4, 3, seed=0)
    with pytest.raises(ShapeError, match=r"x: expected shape \(batch, 6, length\), got \(2, 6\)"):
        model(torch.zeros(2, 6))
    with pytest.raises(DtypeError, match=r"x: expected dtype torch.float32 as the model's, got torch.float64"):
        model(torch.zeros(2, 6, 5).double())
    with pytest.raises(DtypeError, match=r"x: expected a torch.Tensor, got list"):
        model([1.0])
    with pytest.raises(EditRefusedError, match="convolution: expected captured gradients, got none"):
        edge_values(model)[0].captured()
    with pytest.raises(UnsupportedOperationError, match="for the factors of gradients, got a convolution"):
        edge_values(model)[0].factors()
    y = model(torch.randn(1, 6, 5, requires_grad=True))
    (gradient,) = torch.autograd.grad(y.square().sum(), model.layer.weight, create_graph=True)
    with pytest.raises(UnsupportedOperationError, match="second-order gradients through deepgraph::convolution"):
        gradient.sum().backward()
