"""Rewirers on PyTorch's own modules and on mixtures with ours: the same laws, and edges as in a dense reference."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rewire_models import OPTIMIZERS, batch, make_model, make_rewirer, pairs_of, train
from torch import Tensor, nn

from deepgraph.checkpoint import load, save
from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.rewire import DEEPR, SET, Replay, RigL
from deepgraph.sparse import MaskedDeepFFN, edge_values, sparsify
from deepgraph.sparse.masked_weight import WeightValues


class Convolutions(nn.Module):
    """A residual block with grouped and transposed convolutions in front of a linear layer; inputs (B, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Conv1d(4, 4, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose1d(4, 2, 2)
        self.head = nn.Linear(14, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4)."""
        y = torch.tanh(self.norm(self.first(x[:, None])))
        y = y + self.second(y)
        result: Tensor = self.head(self.up(y).flatten(1))
        return result


class Attention(nn.Module):
    """A transformer's encoder layer over the six inputs as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 10, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4)."""
        place = torch.linspace(-1, 1, 6, dtype=x.dtype)[:, None] * torch.linspace(0.5, 1.5, 8, dtype=x.dtype)
        result: Tensor = self.head(self.encoder(self.embed(x[..., None]) + place).mean(1))
        return result


class Recurrent(nn.Module):
    """An LSTM and a GRU over the six inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 5, batch_first=True)
        self.gru = nn.GRU(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4)."""
        result: Tensor = self.gru(self.lstm(x[..., None])[0])[0][:, -1]
        return result


class Mixture(nn.Module):
    """A convolution and a linear layer of PyTorch around a sparse network of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3)
        self.ours = MaskedDeepFFN(8, 6, [7], density=0.4, activation="tanh", seed=3, dtype=torch.float64)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4)."""
        result: Tensor = self.head(self.ours(torch.tanh(self.conv(x[:, None])).flatten(1)))
        return result


KINDS: dict[str, Any] = {"conv": Convolutions, "attention": Attention, "recurrent": Recurrent, "mixture": Mixture}


def make(kind: str, seed: int = 0) -> nn.Module:
    """Return a sparsified model in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = KINDS[kind]().double()
    return sparsify(model, 0.4, seed=seed)


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def states(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict[tuple[int, int], dict[str, float]]]:
    """Return weight and optimizer state by edge, of each edge set."""
    found = []
    for one in edge_values(model):
        columns = {"weight": one.values().tolist()}
        for key, entry in optimizer.state.get(one.parameter, {}).items():
            if isinstance(entry, Tensor) and entry.shape == one.parameter.shape:
                columns[key] = entry.reshape(-1)[one.index()].tolist()
        pairs = list(zip(*(side.tolist() for side in one.edge_set.pairs()), strict=True))
        found.append({pair: {key: column[i] for key, column in columns.items()} for i, pair in enumerate(pairs)})
    return found


def off_edges(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Return the largest entry of weights and state that is no edge."""
    masks: dict[int, Any] = {}
    for one in edge_values(model):
        if one.storage == "masked":
            pair = masks.setdefault(id(one.parameter), [one.parameter, torch.zeros_like(one.mask())])
            pair[1] |= one.mask()
    worst = 0.0
    for parameter, mask in masks.values():
        entries = [parameter.detach(), *optimizer.state.get(parameter, {}).values()]
        for entry in entries:
            if isinstance(entry, Tensor) and entry.shape == parameter.shape:
                worst = max(worst, float(entry.masked_fill(mask, 0).abs().max()))
    return worst


def test_budget_and_what_is_no_edge(algorithm: str, kind: str) -> None:
    model = make(kind)
    rewirer = make_rewirer(algorithm, model, "adamw" if algorithm in ("set", "rigl") else "sgd")
    sizes = [len(pairs) for pairs in pairs_of(model)]
    for step in range(8):
        train(model, rewirer, range(step, step + 1))
        now = [len(pairs) for pairs in pairs_of(model)]
        assert sum(now) == sum(sizes) == rewirer.budget(step)
        assert algorithm == "snfs" or now == sizes
        assert off_edges(model, rewirer) == 0
    assert algorithm == "static" or len(rewirer.log) > 2


@pytest.mark.parametrize("name", ["gmp", "softdeepr", "granet", "srigl"])
def test_numbers_that_change(name: str, kind: str) -> None:
    model = make(kind)
    rewirer = make_rewirer(name, model)
    for step in range(8):
        train(model, rewirer, range(step, step + 1))
        assert sum(len(pairs) for pairs in pairs_of(model)) == rewirer.budget(step + 1)
        assert off_edges(model, rewirer) == 0
    assert len(rewirer.log) > 2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_survivors_keep_weight_and_state(kind: str, optimizer: str) -> None:
    model = make(kind)
    rewirer = make_rewirer("rigl", model, optimizer)
    train(model, rewirer, 3)
    before = states(model, rewirer)
    identities = [id(parameter) for parameter in model.parameters()]
    train(model, rewirer, range(3, 4))
    assert rewirer.edited
    assert identities == [id(parameter) for parameter in model.parameters()]
    grown = 0
    for one, old, new in zip(edge_values(model), before, states(model, rewirer), strict=True):
        edits = [edit for edit in one.edge_set.history if edit.step == 4]
        fresh = {p for edit in edits for p in zip(*(side.tolist() for side in edit.grown), strict=True)}
        grown += len(fresh)
        for pair, state in new.items():
            assert all(entry == 0 for entry in state.values()) if pair in fresh else state == old[pair]
    assert grown > 0


def test_rigl_takes_the_largest_dense_gradients(kind: str) -> None:
    """Against sorting every entry of the dense gradient that an unmasked twin gets."""
    model = make(kind)
    optimizer = RigL(model, OPTIMIZERS["sgd"](model), every=1, until=20, drop_fraction=0.4)
    for step in range(1, 6):
        dense = copy.deepcopy(model)
        weights: dict[str, nn.Parameter] = {}
        for one in edge_values(dense):
            if isinstance(one, WeightValues):
                name = next(n for n, p in dense.named_parameters() if p is one.parameter)
                weights[name] = nn.Parameter(one.parameter.detach().clone())
        x, y = batch(step)
        (torch.func.functional_call(dense, weights, (x,)) - y).square().mean().backward()
        expected = []
        for one in edge_values(model):
            edges = one.edge_set
            k = int(0.2 * (1 + math.cos(math.pi * step / 20)) * edges.num_edges)
            pairs = list(zip(*(side.tolist() for side in edges.pairs()), strict=True))
            if edges.num_edges == edges.num_admissible or not isinstance(one, WeightValues):
                expected.append(None)
                continue
            keep = {
                pair
                for _, _, pair in sorted(zip(one.values().abs().tolist(), range(len(pairs)), pairs, strict=True))[k:]
            }
            name = next(n for n, p in model.named_parameters() if p is one.parameter)
            flat = weights[name].grad.reshape(-1)
            size = {
                pair: abs(float(flat[one.addresses(np.array(pair[0]), np.array(pair[1]))]))
                for pair in np.ndindex(edges.num_sources, edges.num_targets)
                if pair not in keep
            }
            expected.append(keep | set(sorted(size, key=lambda pair, size=size: (-size[pair], pair))[:k]))
        train(model, optimizer, range(step, step + 1))
        for found, wanted in zip(pairs_of(model), expected, strict=True):
            assert wanted is None or found == wanted


@pytest.mark.parametrize("group", ["set", "target", "graph"])
@pytest.mark.parametrize("average", [1, 2])
def test_a_sparsified_network_is_edited_like_ours(group: Any, average: int) -> None:
    """The same weights and edges, once in our modules, once in PyTorch's: the same edits."""
    ours = make_model("ffn", "masked")
    layers: list[nn.Module] = []
    for width, layer in zip((6, 7, 5), ours.layers, strict=True):
        layers += [nn.Linear(width, layer.edge_set.num_targets), nn.Tanh()]
    theirs = nn.Sequential(*layers[:-1]).double()
    sparsify(theirs, 0.5, seed=1)
    state = {}
    for index, layer in enumerate(ours.layers):
        state |= {f"{2 * index}.weight": layer.weight.detach(), f"{2 * index}.bias": layer.bias.detach()}
    theirs.load_state_dict(state)
    assert pairs_of(theirs) == pairs_of(ours)
    if group == "graph":
        # The RMS of dZ is not known there; what is used instead makes one budget for all layers all the same.
        total = ours.num_edges
        train(theirs, make_rewirer("rigl", theirs, group=group), 8)
        assert sum(len(pairs) for pairs in pairs_of(theirs)) == total
        return
    for model in (ours, theirs):
        train(model, make_rewirer("rigl", model, "adamw", group=group, average=average, every=3), 12)
    assert pairs_of(theirs) == pairs_of(ours)
    for one, other in zip(edge_values(ours), edge_values(theirs), strict=True):
        torch.testing.assert_close(one.values(), other.values())


def test_one_scale_for_a_mixture_is_refused() -> None:
    model = make("mixture")
    with pytest.raises(ArgumentError, match="group: expected 'set' or 'target' for a model that mixes linear layers"):
        RigL(model, OPTIMIZERS["sgd"](model), group="graph")
    SET(model, OPTIMIZERS["sgd"](model), group="graph")


def test_factors_of_a_pytorch_module_are_refused() -> None:
    model = make("conv")
    rewirer = make_rewirer("rigl", model, every=1)
    for one in edge_values(model):
        one.arm()
    model(batch(0)[0]).sum().backward()
    with pytest.raises(UnsupportedOperationError, match="got a weight of a PyTorch module, which has dense ones"):
        rewirer.factors(rewirer.values[1])


@pytest.mark.parametrize(
    "name", ["set", "rigl", "deepr", "softdeepr", "snfs", "gmp", "cht", "chts", "mest", "granet", "srigl"]
)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, kind: str) -> None:
    options: dict[str, Any] = {"average": 3, "every": 4} if name == "rigl" else {}
    model = make(kind)
    rewirer = make_rewirer(name, model, "adamw", **options)
    train(model, rewirer, 6)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": rewirer.state_dict()}, file)
    train(model, rewirer, range(6, 11))
    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    again = make(kind, 1)
    again.load_state_dict(loaded["model"])
    resumed = make_rewirer(name, again, "adamw", seed=5, **options)
    resumed.load_state_dict(loaded["optimizer"])
    train(again, resumed, range(6, 11))
    assert pairs_of(model) == pairs_of(again)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert one.detach().numpy().tobytes() == other.detach().numpy().tobytes()
    assert resumed.log == rewirer.log


def test_a_deep_copy_goes_on_by_itself(kind: str) -> None:
    model = make(kind)
    rewirer = make_rewirer("rigl", model, "adamw")
    train(model, rewirer, 3)
    other, again = copy.deepcopy((model, rewirer))
    train(model, rewirer, range(3, 7))
    train(other, again, range(3, 7))
    assert pairs_of(model) == pairs_of(other)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), other.parameters(), strict=True))


def test_checkpoints(kind: str, tmp_path: Path) -> None:
    """A file holds the edges of PyTorch's modules and their history too, and training goes on bit for bit."""
    model = make(kind)
    rewirer = make_rewirer("rigl", model, "adamw")
    train(model, rewirer, 5)
    save({"model": model, "optimizer": rewirer}, tmp_path / "run.dg")
    again = make(kind, 1)
    resumed = make_rewirer("rigl", again, "adamw", seed=5)
    load(tmp_path / "run.dg", into={"model": again, "optimizer": resumed})
    assert [e.step for e in resumed.history] == [e.step for e in rewirer.history]
    for each in ((model, rewirer), (again, resumed)):
        train(*each, range(5, 9))
    assert pairs_of(model) == pairs_of(again)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), again.parameters(), strict=True))


def test_replay_in_a_sparsified_model() -> None:
    model, other = make("attention"), make("attention")
    first = make_rewirer("rigl", model)
    train(model, first, 8)
    train(other, Replay(other, OPTIMIZERS["sgd"](other), first), 8)
    assert pairs_of(model) == pairs_of(other)


def test_deepr_where_only_some_rows_of_a_parameter_walk() -> None:
    """Of attention's q, k, v the dense ones are stepped by SGD and the others walk."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Attention().double()
    names = {
        f"encoder.self_attn.in_proj_weight.{part}": share for part, share in zip("qkv", (1.0, 0.3, 1.0), strict=True)
    }
    sparsify(model, names, seed=0)
    rewirer = DEEPR(model, lr=0.05, l1=0.05, temperature=1e-4, seed=0)
    before = model.encoder.self_attn.in_proj_weight.detach().clone()
    x, y = batch(0)
    (model(x) - y).square().mean().backward()
    gradient = model.encoder.self_attn.in_proj_weight.grad.clone()
    rewirer.step()
    now = model.encoder.self_attn.in_proj_weight.detach()
    for part in (slice(0, 8), slice(16, 24)):
        torch.testing.assert_close(now[part], before[part] - 0.05 * gradient[part])
    assert int((now[8:16] != 0).sum()) == edge_values(model)[1].edge_set.num_edges == round(0.3 * 64)


def test_accumulation_scaling_and_clipping(kind: str) -> None:
    """Two half batches, scaled losses and clipped gradients choose the edges that one whole batch chooses."""
    if kind == "conv":
        pytest.skip("batch norm sees half batches")
    whole, halves = make(kind), make(kind)
    one, two = (make_rewirer("rigl", model) for model in (whole, halves))
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=1000)
    for step in range(6):
        x, y = batch(step)
        one.zero_grad()
        (whole(x) - y).square().mean().backward()
        nn.utils.clip_grad_norm_(whole.parameters(), 0.5)
        one.step()
        two.zero_grad()
        for part in (slice(0, 10), slice(10, 16)):
            scaler.scale((halves(x[part]) - y[part]).square().sum() / y.numel()).backward()
        scaler.unscale_(two)
        nn.utils.clip_grad_norm_(halves.parameters(), 0.5)
        scaler.step(two)
        scaler.update()
    assert pairs_of(whole) == pairs_of(halves)
    assert len(one.history) > 3
