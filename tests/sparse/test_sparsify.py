"""`sparsify`: any module keeps its parameters, computes the same function, and has edges that only edits change."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sparsified_models import MODELS, inputs, make
from torch import nn

from deepgraph.errors import ArgumentError, DtypeError, EditRefusedError, UnsupportedOperationError
from deepgraph.priors import edge_counts
from deepgraph.sparse import MaskedDeepFFN, clear_absent, edge_values, follow, sparsify, weight_masks
from deepgraph.sparse.sparsify import weight_slots

KINDS = sorted(MODELS)


def digests(model: nn.Module) -> list[str]:
    return [one.edge_set.digest() for one in edge_values(model)]


def off_edges(model: nn.Module) -> float:
    """Return the largest entry that is no edge, over all weights."""
    masks: dict[int, Any] = {}
    for one in edge_values(model):
        found = masks.setdefault(id(one.parameter), [one.parameter, torch.zeros_like(one.parameter, dtype=torch.bool)])
        found[1] |= one.mask()
    return max(float(p.detach().masked_fill(mask, 0).abs().max()) for p, mask in masks.values())


def edit(one: Any, count: int = 2) -> None:
    """Drop the first edges and grow the first absent pairs."""
    edges = one.edge_set
    src, dst = edges.pairs()
    absent = np.ones((edges.num_sources, edges.num_targets), bool)
    absent[src, dst] = False
    u, v = np.nonzero(absent)
    edges.edit(drop=(src[:count], dst[:count]), grow=(u[:count], v[:count]))


# -- what is taken -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_keys_and_function_are_those_of_the_module(kind: str) -> None:
    model, plain = make(kind), make(kind)
    before = [(name, id(parameter)) for name, parameter in model.named_parameters()]
    keys = list(model.state_dict())
    assert sparsify(model, 0.3, seed=0) is model
    assert before == [(name, id(parameter)) for name, parameter in model.named_parameters()]
    assert keys == list(model.state_dict())
    plain.load_state_dict(model.state_dict())
    x = inputs(kind)
    assert torch.equal(model(x), plain(x))
    assert off_edges(model) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distribution", ["uniform", "er", "erk", "igq"])
def test_counts_are_those_of_the_distribution(kind: str, distribution: Any) -> None:
    model = make(kind)
    shapes = [slot.shape for slot in weight_slots(model)]
    sparsify(model, 0.2, distribution, seed=0)
    counts = [one.edge_set.num_edges for one in edge_values(model)]
    assert counts == edge_counts(shapes, 0.2, distribution).tolist()
    assert all(one.edge_set.num_admissible == np.prod(s) for one, s in zip(edge_values(model), shapes, strict=True))


def test_all_weights_of_a_transformer_and_of_recurrent_modules_are_taken() -> None:
    names = [slot.name for slot in weight_slots(make("transformer"))]
    assert names == [
        "encoder.self_attn.in_proj_weight.q", "encoder.self_attn.in_proj_weight.k",
        "encoder.self_attn.in_proj_weight.v", "encoder.self_attn.out_proj.weight", "encoder.linear1.weight",
        "encoder.linear2.weight", "cross.q_proj_weight", "cross.k_proj_weight", "cross.v_proj_weight",
        "cross.out_proj.weight", "head.weight",
    ]  # fmt: skip
    names = [slot.name for slot in weight_slots(make("recurrent"))]
    assert "lstm.weight_hr_l1" in names
    assert "gru.weight_ih_l0_reverse" in names
    assert names[-2:] == ["cell.weight_ih", "cell.weight_hh"]


@settings(max_examples=25)
@given(
    dims=st.integers(1, 3), groups=st.integers(1, 3), into=st.integers(1, 2), out=st.integers(1, 3),
    transposed=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_sources_and_targets_of_any_convolution(
    dims: int, groups: int, into: int, out: int, transposed: bool, seed: int
) -> None:
    """Target v is output channel v and nothing else; the pairs are all entries, each once."""
    cls = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if transposed
        else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    layer = cls[dims - 1](into * groups, out * groups, 2, groups=groups, bias=False)
    (slot,) = weight_slots(layer)
    u, v = (side.ravel() for side in np.indices((slot.num_sources, slot.num_targets)))
    places = slot.addresses(u, v)
    assert sorted(places.tolist()) == list(range(layer.weight.numel()))
    assert (slot.num_sources, slot.num_targets) == (into * 2**dims, out * groups)
    at = int(np.random.default_rng(seed).integers(len(u)))
    with torch.no_grad():
        layer.weight.zero_().view(-1)[places[at]] = 1.0
    y = layer(torch.rand(1, into * groups, *[3] * dims) + 0.1).transpose(0, 1).flatten(1).abs().sum(1)
    assert y.nonzero().flatten().tolist() == [v[at]]


def test_a_mapping_of_densities_and_weights_that_stay_dense() -> None:
    model = sparsify(make("transformer"), {"head.weight": 0.5, "encoder.self_attn.in_proj_weight.k": 0.25}, seed=0)
    assert [one.edge_set.name for one in edge_values(model)] == ["encoder.self_attn.in_proj_weight.k", "head.weight"]
    assert [one.edge_set.num_edges for one in edge_values(model)] == [16, 20]
    q, k, v = model.encoder.self_attn.in_proj_weight.chunk(3)
    assert (int((q != 0).sum()), int((k != 0).sum()), int((v != 0).sum())) == (64, 16, 64)
    x = inputs("transformer")
    model(x).square().sum().backward()
    gq, gk, _ = model.encoder.self_attn.in_proj_weight.grad.chunk(3)
    assert int((gq != 0).sum()) > 32
    assert int((gk != 0).sum()) <= 16
    model = sparsify(make("resnet"), 0.2, dense=("0", "5.weight"), seed=0)
    assert not {"0.weight", "5.weight"} & {one.edge_set.name for one in edge_values(model)}
    again = [slot.name for slot in weight_slots(model)]
    assert again == ["0.weight", "5.weight"]


def test_a_shared_parameter_is_taken_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    sparsify(model, 0.5, seed=0)
    assert len(edge_values(model)) == 1
    model(torch.ones(1, 4)).sum().backward()
    assert int((model[0].weight.grad != 0).sum()) <= 8


def test_modules_with_edge_sets_are_left_alone() -> None:
    model = nn.Sequential(MaskedDeepFFN(6, 4, [5], density=0.5, seed=0), nn.Linear(4, 3))
    before = digests(model)
    sparsify(model, 0.5, seed=0)
    assert digests(model)[: len(before)] == before
    assert len(edge_values(model)) == 3


@pytest.mark.usefixtures("global_rng_untouched")
def test_seeds() -> None:
    def drawn(seed: Any, **options: Any) -> list[str]:
        return digests(sparsify(make("resnet"), 0.3, seed=seed, **options))

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1, init="fan_in") == drawn(1, init="fan_in") != drawn(1)


def test_manual_seed_governs_no_seed() -> None:
    model = make("resnet")
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append(digests(sparsify(copy.deepcopy(model), 0.3)))
    assert runs[0] == runs[1]


def test_init_by_the_fan_in_that_is_left() -> None:
    layer = sparsify(nn.Conv2d(16, 64, 3, bias=False), 0.2, seed=0, init="fan_in")
    fan_in = (layer.weight != 0).flatten(1).sum(1)
    scaled = layer.weight.detach().flatten(1) * (fan_in[:, None] / 2).sqrt()
    assert float(scaled[scaled != 0].std()) == pytest.approx(1.0, rel=0.05)


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_no_optimizer_moves_what_is_no_edge(kind: str, name: str) -> None:
    model = sparsify(make(kind), 0.3, seed=0)
    options = {"momentum": 0.9, "nesterov": True} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.01, weight_decay=0.1, **options)
    follow(model, optimizer)
    before = [one.values() for one in edge_values(model)]
    for step in range(4):
        optimizer.zero_grad()
        model(inputs(kind, step)).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step == 1:
            for one in edge_values(model):
                edit(one)
    assert off_edges(model) == 0
    assert all(not torch.equal(old, one.values()) for old, one in zip(before, edge_values(model), strict=True))


def test_an_optimizer_that_has_stepped_before() -> None:
    model = make("resnet")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model(inputs("resnet")).square().sum().backward()
    optimizer.step()
    sparsify(model, 0.3, seed=0)
    follow(model, optimizer)
    optimizer.zero_grad()
    model(inputs("resnet")).square().sum().backward()
    optimizer.step()
    assert off_edges(model) == 0


def test_infinite_gradients_off_the_edges_do_not_spread() -> None:
    layer = sparsify(nn.Linear(3, 2, bias=False), 0.5, seed=0)
    layer(torch.full((1, 3), float("inf"))).sum().backward()
    assert not torch.isnan(layer.weight.grad).any()
    assert bool((layer.weight.grad[layer.weight == 0] == 0).all())


def test_the_gradient_on_edges_is_that_of_the_dense_module() -> None:
    for kind in KINDS:
        model, plain = sparsify(make(kind), 0.4, seed=0), make(kind)
        plain.load_state_dict(model.state_dict())
        for each in (model, plain):
            each(inputs(kind)).square().sum().backward()
        dense = dict(plain.named_parameters())
        masks: dict[str, torch.Tensor] = {}
        for one in edge_values(model):
            name = next(n for n, p in model.named_parameters() if p is one.parameter)
            masks[name] = masks.get(name, torch.zeros_like(one.mask())) | one.mask()
        for name, parameter in model.named_parameters():
            expected = dense[name].grad
            if name in masks:
                expected = torch.where(masks[name], expected, 0.0)
            torch.testing.assert_close(parameter.grad, expected)


def test_captured_gradients_are_the_dense_ones_summed_over_backwards() -> None:
    for kind in KINDS:
        model, plain = sparsify(make(kind), 0.4, seed=0), make(kind)
        plain.load_state_dict(model.state_dict())
        for one in edge_values(model):
            one.arm()
        for step in range(2):
            for each in (model, plain):
                each(inputs(kind, step)).square().sum().backward()
        dense = dict(plain.named_parameters())
        for one in edge_values(model):
            name = next(n for n, p in model.named_parameters() if p is one.parameter)
            (found,) = one.captured()
            u, v = (side.ravel() for side in np.indices(found.shape))
            torch.testing.assert_close(found.reshape(-1), dense[name].grad.reshape(-1)[one.addresses(u, v)])
        edge_values(model)[0].disarm()
        with pytest.raises(EditRefusedError, match="expected captured gradients, got none"):
            edge_values(model)[0].captured()
        with pytest.raises(UnsupportedOperationError, match="has dense ones"):
            edge_values(model)[0].factors()


# -- edits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_moves_values_gradients_and_state(kind: str) -> None:
    model = sparsify(make(kind), 0.4, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    follow(model, optimizer)
    model(inputs(kind)).square().sum().backward()
    optimizer.step()
    for one in edge_values(model):
        old = dict(
            zip(zip(*(s.tolist() for s in one.edge_set.pairs()), strict=True), one.values().tolist(), strict=True)
        )
        edit(one)
        src, dst = one.edge_set.pairs()
        for pair, value, place in zip(
            zip(src.tolist(), dst.tolist(), strict=True), one.values(), one.index(), strict=True
        ):
            assert float(value) == old.get(pair, 0.0)
            if pair not in old:
                assert float(one.parameter.grad.reshape(-1)[place]) == 0
                assert float(optimizer.state[one.parameter]["exp_avg"].reshape(-1)[place]) == 0
    assert off_edges(model) == 0


def test_undo() -> None:
    model = sparsify(make("resnet"), 0.4, seed=0)
    before = digests(model)
    for one in edge_values(model):
        edit(one)
    assert digests(model) != before
    for one in edge_values(model):
        one.edge_set.undo()
    assert digests(model) == before


def test_a_backward_after_an_edit_is_refused_by_autograd() -> None:
    model = sparsify(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), 0.5, seed=0)
    loss = model(torch.ones(1, 4)).sum()
    edit(edge_values(model)[1], 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_channels_last() -> None:
    model = sparsify(make("resnet"), 0.4, seed=0).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    follow(model, optimizer)
    model(inputs("resnet")).square().sum().backward()
    optimizer.step()
    for one in edge_values(model):
        edit(one)
        one.set_values(one.values() + 1)
    assert off_edges(model) == 0
    assert sum(int((p != 0).sum()) for p in {one.parameter for one in edge_values(model)}) == sum(
        one.edge_set.num_edges for one in edge_values(model)
    )


def test_clear_absent() -> None:
    model = sparsify(make("transformer"), 0.3, seed=0)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    clear_absent(model)
    assert off_edges(model) == 0
    assert all(bool((one.values() == 1).all()) for one in edge_values(model))


def test_weight_masks() -> None:
    model = sparsify(make("transformer"), 0.3, seed=0)
    masks = weight_masks(model)
    assert sum(int(mask.sum()) for _, mask in masks) == sum(one.edge_set.num_edges for one in edge_values(model))
    for one in edge_values(model):
        mask = next(mask for parameter, mask in masks if parameter is one.parameter)
        assert not (one.mask() & ~mask).any()


# -- saving and copying ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["state_dict", "plain_dict", "deepcopy", "pickle", "torch.save", "assign"])
def test_edges_survive_saving_and_copying(kind: str, how: str) -> None:
    """Also those of weight 0, and in a copy that goes on by itself."""
    model = sparsify(make(kind), 0.3, seed=0)
    for one in edge_values(model):
        edit(one)
        values = one.values()
        values[::3] = 0.0
        one.set_values(values)
    if how == "deepcopy":
        twin = copy.deepcopy(model)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    elif how == "torch.save":
        file = io.BytesIO()
        torch.save(model, file)
        twin = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    else:
        state: Any = model.state_dict()
        if how == "plain_dict":
            state = {key: entry.clone() for key, entry in state.items()}
        twin = sparsify(make(kind, 1), 0.7, seed=9)
        twin.load_state_dict(state, assign=how == "assign")
    assert digests(twin) == digests(model)
    assert off_edges(twin) == 0
    frozen = digests(model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, weight_decay=0.1)
    follow(twin, optimizer)
    twin(inputs(kind)).square().sum().backward()
    for one in edge_values(twin):
        edit(one)
    optimizer.step()
    assert off_edges(twin) == 0
    assert digests(twin) != frozen == digests(model)
    with torch.no_grad():
        assert torch.isfinite(model(inputs(kind))).all()


def test_a_model_with_an_optimizer_is_pickled() -> None:
    for model in (sparsify(nn.Linear(4, 3), 0.5, seed=0), MaskedDeepFFN(4, 3, [3], density=0.5, seed=0)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        follow(model, optimizer)
        assert digests(pickle.loads(pickle.dumps(model))) == digests(model)


def test_the_signs_of_zero_are_only_in_the_state() -> None:
    model = sparsify(nn.Linear(4, 3, bias=False), 0.5, seed=0)
    (one,) = edge_values(model)
    one.set_values(torch.zeros(6))
    state = model.state_dict()
    assert int(torch.signbit(state["weight"]).sum()) == 6
    assert not torch.signbit(model.weight).any()
    model.load_state_dict(state)
    assert not torch.signbit(model.weight).any()
    assert one.edge_set.num_edges == 6


def test_loading_a_dense_model_warns() -> None:
    model = sparsify(nn.Linear(4, 3), 0.5, seed=0)
    with pytest.warns(
        UserWarning, match=r"weight: expected the state of a sparsified model, got a weight without zeros"
    ):
        model.load_state_dict(nn.Linear(4, 3).state_dict())
    assert edge_values(model)[0].edge_set.density == 1.0


def test_a_state_of_another_shape_is_torchs_error_and_changes_no_edge() -> None:
    model = sparsify(nn.Linear(4, 3), 0.5, seed=0)
    before = digests(model)
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        model.load_state_dict(nn.Linear(5, 3).state_dict())
    assert digests(model) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_conversion_keeps_edges_and_masks_gradients(dtype: torch.dtype) -> None:
    model = sparsify(nn.Linear(8, 4), 0.5, seed=0).to(dtype)
    model(torch.ones(2, 8, dtype=dtype)).sum().backward()
    assert int((model.weight.grad != 0).sum()) == 16
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        model.double()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    (one,) = edge_values(model)
    assert one.parameter is model.weight
    model.weight.grad = None
    model(torch.ones(2, 8, dtype=torch.float64)).sum().backward()
    assert int((model.weight.grad != 0).sum()) == 16


def test_frozen_weights() -> None:
    layer = nn.Linear(4, 3)
    layer.weight.requires_grad_(False)
    sparsify(layer, 0.5, seed=0)
    assert not layer.weight.requires_grad
    layer.requires_grad_(True)
    layer(torch.ones(1, 4)).sum().backward()
    assert int((layer.weight.grad != 0).sum()) == 6


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_mistakes() -> None:
    with pytest.raises(DtypeError, match=r"model: expected an nn.Module, got list"):
        sparsify([], 0.5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="got a ReLU without any that is not sparse already"):
        sparsify(nn.ReLU(), 0.5)
    with pytest.raises(ArgumentError, match=r"density: expected a number in \(0, 1\]"):
        sparsify(nn.Linear(2, 2), 0.0)
    with pytest.raises(ArgumentError, match=r"density\['weight'\]: expected a number in \(0, 1\]"):
        sparsify(nn.Linear(2, 2), {"weight": 2.0})
    with pytest.raises(ArgumentError, match=r"density: expected names among \['weight'\], got 'bias'"):
        sparsify(nn.Linear(2, 2), {"bias": 0.5})
    with pytest.raises(ArgumentError, match=r"dense: expected names among \['weight'\], got 'x'"):
        sparsify(nn.Linear(2, 2), 0.5, dense=("x",))
    with pytest.raises(ArgumentError, match="distribution must be one of"):
        sparsify(nn.Linear(2, 2), 0.5, "flat")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="init: expected one of"):
        sparsify(nn.Linear(2, 2), 0.5, init="zero", seed=0)
    computed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="expected a plain parameter 'weight', got one that is computed"):
        sparsify(computed, 0.5)
    with pytest.raises(
        ArgumentError, match="0: expected weights, got a LazyLinear that has none yet; run the model on"
    ):
        sparsify(nn.Sequential(nn.LazyLinear(2)), 0.5)
