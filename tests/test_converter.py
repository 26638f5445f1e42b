"""Conversions between dense, COO and CSR layers, and the layer that trains in both sparse formats."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.converter import convert, convert_model
from deepgraph.sparse import MaskedLinearLayer, SparseLayer, SparseLinear, prune_sparse_model, set_global_k

TARGETS = ["dense", "coo", "csr"]
MASK = torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]])


def linear(dtype: torch.dtype = torch.float32, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 4, bias, dtype=dtype)


def learned_mask() -> MaskedLinearLayer:
    layer = MaskedLinearLayer(3, 4, mask_as_params=True)
    layer.mask = MASK
    return layer


MAKERS = {
    "linear": linear,
    "no bias": lambda: linear(bias=False),
    "double": lambda: linear(torch.float64),
    "coo": lambda: SparseLayer(3, 4, seed=0),
    "csr": lambda: SparseLayer(3, 4, csr_mode=True, density=0.5, seed=0),
    "sparse linear": lambda: SparseLinear(3, 4, 0.5, seed=0),
    "learned mask": learned_mask,
}


@pytest.mark.parametrize(("name", "target"), list(itertools.product(MAKERS, TARGETS)))
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (2, 2, 5, 3), (0, 3)])
def test_a_converted_layer_computes_the_same(name: str, target: str, shape: tuple[int, ...]) -> None:
    layer = MAKERS[name]()
    made = convert(layer, target)  # type: ignore[arg-type]
    x = torch.randn(shape, dtype=next(layer.parameters()).dtype)
    torch.testing.assert_close(made(x), layer(x))
    assert made is not layer
    assert isinstance(made, nn.Linear if target == "dense" else SparseLayer)


def test_masks_and_zeros_become_no_edges_and_the_original_stays() -> None:
    layer = linear()
    before = layer.weight.detach().clone()
    for target in TARGETS:
        made = convert(layer, target, MASK)  # type: ignore[arg-type]
        weight = made.weight.to_dense() if target != "dense" else made.weight
        assert torch.equal(weight.detach(), before * MASK)
    sparse = convert(layer, "csr", MASK)
    assert sparse.num_edges == sparse.values.numel() == 5
    assert torch.equal(layer.weight, before)
    with pytest.raises(ValueError, match=r"expected shape \(4, 3\) as the weight's, got \(3, 4\); transpose it"):
        convert(layer, "coo", MASK.T)


def test_unknown_targets_and_layers_are_type_errors() -> None:
    with pytest.raises(TypeError, match=r"conversion_target: expected one of .*, got 'not_a_type'"):
        convert(nn.Linear(1, 1), "not_a_type")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="conversion_target: expected one of"):
        convert_model(nn.Linear(1, 1), nn.Linear, "bsr")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected nn.Linear or SparseLayer, got Conv2d"):
        convert(nn.Conv2d(1, 1, 1), "coo")


def test_settings_are_kept() -> None:
    layer = SparseLayer(3, 4, k=0.3, train_mode=False, dtype=torch.float64).eval()
    for target in ("csr", "coo"):
        made = convert(layer, target)  # type: ignore[arg-type]
        assert (made.k, made.train_mode, made.training, made.values.dtype) == (0.3, False, False, torch.float64)
        assert not any(p.requires_grad for p in made.parameters())
        assert made.is_CSR == (target == "csr")
    state = torch.random.get_rng_state()
    convert(convert(layer, "dense"), "coo")
    assert torch.equal(state, torch.random.get_rng_state())


class Block(nn.Module):
    def __init__(self, shared: nn.Module) -> None:
        super().__init__()
        self.inner = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()), shared])
        self.shared = shared

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared(self.inner[1](self.inner[0](x)))


@pytest.mark.parametrize("target", ["coo", "csr"])
def test_nested_models_are_converted_in_a_copy(target: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), Block(nn.Linear(4, 4)), nn.LayerNorm(4))
    before = copy.deepcopy(model.state_dict())
    made = convert_model(model, nn.Linear, target)  # type: ignore[arg-type]
    assert not any(type(m) is nn.Linear for m in made.modules())
    assert made[1].inner[1] is made[1].shared
    assert sum(isinstance(m, SparseLayer) for m in made.modules()) == 3
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.values(), strict=True))
    x = torch.randn(7, 6)
    torch.testing.assert_close(made(x), model(x))
    back = convert_model(made, SparseLayer, "dense")
    assert list(back.state_dict()) == list(model.state_dict())
    assert torch.equal(back(x), model(x))
    assert isinstance(convert_model(nn.Linear(2, 2), nn.Linear, target), SparseLayer)  # type: ignore[arg-type]


@pytest.mark.parametrize("csr_mode", [False, True])
def test_both_formats_train_and_sparsely(csr_mode: bool) -> None:
    # CSR of ActuallySparse cannot train, and its COO goes through a dense matrix.
    torch.manual_seed(0)
    dense = nn.Linear(6, 5)
    with torch.no_grad():
        dense.weight.mul_(torch.rand(5, 6) < 0.4)
    layer = convert(dense, "csr" if csr_mode else "coo")
    x = torch.randn(8, 6, requires_grad=True)
    y = x.detach().clone().requires_grad_(True)
    dense(x).square().sum().backward()
    layer(y).square().sum().backward()
    src, dst = (torch.from_numpy(np.array(a, np.int64)) for a in layer.layer.edge_set.pairs())
    torch.testing.assert_close(layer.values.grad, dense.weight.grad[dst, src])
    torch.testing.assert_close(layer.bias.grad, dense.bias.grad)
    torch.testing.assert_close(y.grad, x.grad)
    assert layer.values.numel() == int((dense.weight != 0).sum())
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    target, losses = torch.randn(8, 5), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (layer(y.detach()) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("csr_mode", [False, True])
def test_weight_is_a_sparse_tensor_of_torchs_orientation(csr_mode: bool) -> None:
    layer = SparseLayer(3, 4, csr_mode=csr_mode, density=0.5, seed=0)
    weight = layer.weight
    assert weight.shape == (4, 3)
    assert weight.layout == (torch.sparse_csr if csr_mode else torch.sparse_coo)
    assert weight.values().numel() == layer.num_edges == 6
    x = torch.randn(2, 3)
    torch.testing.assert_close(layer(x), (weight @ x.T).T + layer.bias)
    torch.sparse_coo_tensor(weight.to_sparse_coo().indices(), weight.values(), weight.shape, check_invariants=True)
    weight.to_dense().sum().backward()
    assert torch.equal(layer.values.grad, torch.ones(6))


def test_new_weights_are_taken_dense_and_sparse() -> None:
    layer = SparseLayer(3, 4)
    weight, bias = torch.randn(4, 3) * MASK, torch.randn(4)
    parameter = layer.values
    for given in (weight, weight.to_sparse_coo(), weight.to_sparse_csr()):
        layer.assign_new_weight(torch.ones(4, 3))
        assert layer.assign_new_weight(given, bias) is layer
        assert torch.equal(layer.weight.to_dense(), weight)
        assert torch.equal(layer.bias, bias)
    assert layer.values is parameter
    layer.assign_new_weight(torch.zeros(4, 3))
    assert layer.num_edges == 0
    assert torch.equal(layer(torch.ones(2, 3)), bias.expand(2, 4))


def test_new_weights_are_checked() -> None:
    # ActuallySparse transposes what does not fit.
    layer = SparseLayer(3, 4)
    with pytest.raises(ValueError, match=r"expected shape \(4, 3\), got \(3, 4\); transpose it"):
        layer.assign_new_weight(torch.ones(3, 4))
    with pytest.raises(TypeError, match="expected a floating tensor, got list"):
        layer.assign_new_weight([[1.0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected finite values"):
        layer.assign_new_weight(torch.full((4, 3), torch.nan))
    with pytest.raises(ValueError, match=r"bias: expected shape \(4,\), got \(3,\)"):
        layer.assign_new_weight(torch.ones(4, 3), torch.ones(3))
    with pytest.raises(ValueError, match="a layer without biases"):
        SparseLayer(3, 4, bias=False).assign_new_weight(torch.ones(4, 3), torch.ones(4))
    with pytest.raises(ValueError, match=r"expected shape \(batch, 3\), got \(3, 4\)"):
        layer(torch.ones(3, 4))
    y = layer(torch.ones(1, 3))
    with pytest.raises(RuntimeError, match="between a forward and its backward"):
        layer.assign_new_weight(torch.zeros(4, 3))
    del y
    assert layer.num_edges == 12


TEN = torch.arange(1, 11).view(5, 2) / 10


@pytest.mark.parametrize(("k", "left"), [(0.1, 9), (0.33, 7), (0.5, 5), (0.001, 9), (1.0, 0)])
def test_pruning_removes_the_smallest_values(k: float, left: int) -> None:
    layer = SparseLayer(2, 5).assign_new_weight(TEN)
    layer.prune_smallest_values(k)
    assert layer.num_edges == layer.weight.values().numel() == left
    assert torch.equal(layer.weight.to_dense(), TEN * TEN.gt((10 - left) / 10 + 0.05))


def test_k_is_a_share_of_all_or_of_what_is_left() -> None:
    a, b = (SparseLayer(2, 5, k=0.5).assign_new_weight(TEN) for _ in "ab")
    assert a.prune_smallest_values().prune_smallest_values().num_edges == 0
    assert b.prune_smallest_values(of="left").prune_smallest_values(of="left").num_edges == 3
    assert a.prune_smallest_values().num_edges == 0
    with pytest.raises(ValueError, match="of: expected 'all' or 'left', got 'some'"):
        a.prune_smallest_values(of="some")  # type: ignore[arg-type]
    for bad in (0, 1.5, float("nan"), "0.5", True):
        with pytest.raises(ValueError, match=r"k: expected a number in \(0, 1\]"):
            a.set_k(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("followed", [False, True])
def test_the_optimizer_keeps_working_after_pruning(followed: bool) -> None:
    torch.manual_seed(0)
    layer = SparseLayer(6, 5, seed=0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    if followed:
        dg.follow(layer, optimizer)
    x, target = torch.randn(16, 6), torch.randn(16, 5)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 10:
            src, dst = layer.layer.edge_set.pairs()
            momentum = optimizer.state[layer.values]["exp_avg"][: len(src)]
            moments = {(int(u), int(v)): m.item() for u, v, m in zip(src, dst, momentum, strict=True)}
            layer.prune_smallest_values(0.1)
            src, dst = layer.layer.edge_set.pairs()
            kept = [moments[int(u), int(v)] for u, v in zip(src, dst, strict=True)]
            if followed:
                assert optimizer.state[layer.values]["exp_avg"][: len(kept)].tolist() == kept
    assert layer.num_edges == 21
    # ActuallySparse replaces the parameter, and the optimizer moves the old one.
    assert losses[-1] < losses[31]
    layer.compact()
    assert layer.values.numel() == 21


def test_models_are_pruned_at_any_depth() -> None:
    model = nn.Sequential(SparseLayer(4, 4), nn.Sequential(nn.ReLU(), SparseLayer(4, 2)))
    set_global_k(model, 0.5)
    assert prune_sparse_model(model, torch.ones(4)) is model
    assert [m.num_edges for m in model.modules() if isinstance(m, SparseLayer)] == [8, 4]
    assert model.training
    with pytest.raises(ValueError, match="expected SparseLayers in it, got Linear without any"):
        set_global_k(nn.Linear(2, 2), 0.5)
    with pytest.raises(ValueError, match="expected SparseLayers in it"):
        prune_sparse_model(nn.Linear(2, 2))


def test_copies_and_state_dicts() -> None:
    layer = SparseLayer(6, 5, csr_mode=True, density=0.3, k=0.2, seed=0)
    x = torch.randn(2, 6)
    fresh = SparseLayer(6, 5)
    fresh.load_state_dict(layer.state_dict())
    made = SparseLayer.from_config(layer.config())
    made.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), fresh, made):
        assert torch.equal(twin(x), layer(x))
        assert twin.num_edges == layer.num_edges
    assert repr(made) == repr(layer)
    assert layer.switch_to_COO().is_CSR is False


def test_rewiring_and_graphs_work_on_it() -> None:
    layer = convert(linear(), "coo", MASK)
    optimizer = dg.SET(layer, torch.optim.SGD(layer.parameters(), lr=0.1), every=1, until=3, seed=0)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(4, 3)).sum().backward()
        optimizer.step()
    assert layer.num_edges == layer.graph.number_of_edges() == layer.weight.values().numel() == 5
