"""One suite over all rewirers: budgets, churn, share 0, dense and empty layers, copies, pickles, all kinds of loops."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from rewire_models import OPTIMIZERS, batch, make_model, make_rewirer, pairs_of, train
from torch import Tensor, nn

from deepgraph.kernels.growth import AbsentPairs, best_absent
from deepgraph.rewire import DEEPR, GMP, SET, RigL, SoftDEEPR, Static
from deepgraph.sparse import MaskedDeepFFN, SparseLinear, edge_values, sparsify

ALL = ["static", "set", "rigl", "deepr", "softdeepr", "snfs", "gmp", "cht", "chts", "mest", "granet", "srigl"]


def weights_of(model: nn.Module) -> list[bytes]:
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


@pytest.mark.parametrize("name", ALL)
def test_budget_is_exact_after_every_step_and_the_graph_acyclic(name: str, kind: str) -> None:
    model = make_model(kind, "csr")
    rewirer = make_rewirer(name, model)
    for step in range(1, 13):
        train(model, rewirer, range(step, step + 1))
        assert sum(edges.num_edges for edges in model.edge_sets) == rewirer.budget(step)
    assert nx.is_directed_acyclic_graph(nx.DiGraph(model.graph))


@pytest.mark.parametrize("sparsified", [False, True])
def test_churn_of_rigl_is_that_of_its_schedule_at_every_update(sparsified: bool) -> None:
    model: Any = MaskedDeepFFN(6, 4, [30, 20], density=0.3, seed=0, dtype=torch.float64)
    if sparsified:
        with torch.random.fork_rng():
            model = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 4)).double()
        sparsify(model, 0.3, seed=0)
    optimizer = RigL(model, OPTIMIZERS["sgd"](model), every=3, until=90, drop_fraction=0.4, seed=0)
    chosen: list[int] = []
    choose = optimizer.choose_drop
    optimizer.choose_drop = lambda values, share: [chosen.append(len(r)) or r for r in choose(values, share)]  # type: ignore[method-assign,func-returns-value]
    sizes = [one.edge_set.num_edges for one in edge_values(model)]
    for step in range(1, 91):
        chosen.clear()
        train(model, optimizer, range(step, step + 1))
        if step % 3 or step >= 90:
            assert not chosen
            continue
        share = 0.4 / 2 * (1 + math.cos(math.pi * step / 90))
        assert chosen == [int(share * size) for size in sizes]
        # What is dropped and grown at once stays, so the edit is as large or smaller, and as much comes as goes.
        row = optimizer.log[-1] if optimizer.log and optimizer.log[-1]["step"] == step else {"dropped": 0, "grown": 0}
        assert row["dropped"] == row["grown"] <= sum(chosen)
    assert sum(row["dropped"] for row in optimizer.log) > 20


@pytest.mark.parametrize("name", ["set", "rigl", "snfs", "cht", "chts", "mest"])
def test_share_0_changes_nothing(name: str, kind: str) -> None:
    model, other = make_model(kind, "csr"), make_model(kind, "csr")
    rewirer = make_rewirer(name, model, drop_fraction=lambda step: 0.0, every=10**6)
    still = make_rewirer(name, other, drop_fraction=lambda step: 0.0, every=2)
    before = pairs_of(model)
    train(model, rewirer, 6)
    train(other, still, 6)
    assert pairs_of(model) == pairs_of(other) == before
    assert not len(still.log)
    if name != "rigl":  # whose updates take the place of steps
        assert weights_of(model) == weights_of(other)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("density", [1.0, "empty"])
def test_dense_and_empty_layers(name: str, density: Any) -> None:
    """All layers dense: nothing is rewired, but GMP prunes. One layer without edges: the others go on."""
    model = MaskedDeepFFN(
        6, 4, [7], density=0.4 if density == "empty" else 1.0, activation="tanh", seed=0, dtype=torch.float64
    )
    if density == "empty":
        edges = model.edge_sets[1]
        edges.edit(drop=edges.pairs())
    rewirer = make_rewirer(name, model)
    sizes = [edges.num_edges for edges in model.edge_sets]
    train(model, rewirer, 6)
    after = [edges.num_edges for edges in model.edge_sets]
    if density == 1.0:
        assert after == sizes or name in ("gmp", "granet")
    elif name not in ("softdeepr", "gmp", "granet", "srigl"):
        assert sum(after) == sum(sizes)
        assert after[1] == 0 or name == "snfs"
    assert sum(after) == rewirer.budget(6)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def test_deepr_keeps_its_number_without_gradients() -> None:
    """Zero gradients: nothing but noise and pull; every set has its number after each of 300 steps."""
    deepr_steps(300)


@pytest.mark.slow
def test_deepr_keeps_its_number_for_ten_thousand_steps() -> None:
    deepr_steps(10_000)


def deepr_steps(steps: int) -> None:
    for zero in (True, False):
        model = MaskedDeepFFN(12, 4, [20, 10], density=[0.05, 0.1, 0.3], activation="relu", seed=0)
        optimizer = DEEPR(model, lr=0.1, l1=1e-3, temperature=1e-3, seed=0)
        sizes = [edges.num_edges for edges in model.edge_sets]
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            optimizer.zero_grad()
            out = model(torch.randn(4, 12, generator=generator))
            (out.sum() * 0 if zero else out.square().mean()).backward()
            optimizer.step()
            assert [edges.num_edges for edges in model.edge_sets] == sizes
        assert len(optimizer.log) > steps // 20


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_copies_and_pickles_go_on_as_the_original(name: str, storage: str) -> None:
    """A deep copy or a pickle of (model, rewirer) together trains on bit for bit."""
    model = make_model("ffn", storage)
    rewirer = make_rewirer(name, model, "adamw")
    train(model, rewirer, 5)
    twins = [copy.deepcopy((model, rewirer)), pickle.loads(pickle.dumps((model, rewirer)))]
    train(model, rewirer, range(5, 10))
    for twin, other in twins:
        train(twin, other, range(5, 10))
        assert weights_of(twin) == weights_of(model)
        assert pairs_of(twin) == pairs_of(model)


@pytest.mark.parametrize("name", ALL)
def test_a_copy_of_a_rewirer_alone_has_a_copy_of_its_model(name: str) -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer(name, model)
    train(model, rewirer, 3)
    before = weights_of(model), pairs_of(model)
    twins = [copy.deepcopy(rewirer), pickle.loads(pickle.dumps(rewirer)), copy.deepcopy([rewirer, model])[0]]
    for alone in twins:
        train(alone.model, alone, range(3, 8))
    assert (weights_of(model), pairs_of(model)) == before
    train(model, rewirer, range(3, 8))
    for alone in twins:
        assert (weights_of(alone.model), pairs_of(alone.model)) == (weights_of(model), pairs_of(model))


# -- loops of every kind, together -------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["set", "rigl", "snfs"])
def test_everything_together(name: str, optimizer: str) -> None:
    """Scheduler, accumulation, clipping, scaler and resuming, for each optimizer: state stays on edges, runs agree."""
    runs = []
    for stop in (None, 7):
        model = make_model("ffn", "masked", dtype=torch.float32)
        made = everything(name, optimizer, model)
        if stop:
            steps(model, *made, range(stop))
            file = io.BytesIO()
            torch.save([model.state_dict(), *(part.state_dict() for part in made)], file)
            states = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
            model = make_model("ffn", "masked", dtype=torch.float32)
            made = everything(name, optimizer, model)
            for part, state in zip((model, *made), states, strict=True):
                part.load_state_dict(state)
        steps(model, *made, range(stop or 0, 12))
        runs.append((pairs_of(model), weights_of(model)))
        for one in edge_values(model):
            off = ~one.mask()
            state = made[0].state[one.parameter]
            assert not one.parameter.detach()[off].any()
            assert all(not e[off].any() for e in state.values() if isinstance(e, Tensor) and e.shape == off.shape)
        assert len(made[0].log) > 3
    assert runs[0] == runs[1]


def everything(name: str, optimizer: str, model: nn.Module) -> tuple[Any, Any, Any]:
    rewirer = make_rewirer(name, model, optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(rewirer, 4, 0.5)
    return rewirer, scheduler, torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=5)


def steps(model: nn.Module, rewirer: Any, scheduler: Any, scaler: Any, numbers: range) -> None:
    for step in numbers:
        x, y = batch(step, torch.float32)
        rewirer.zero_grad()
        for part in (slice(0, 6), slice(6, 16)):
            scaler.scale((model(x[part]) - y[part]).square().sum() / y.numel()).backward()
        scaler.unscale_(rewirer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(rewirer)
        scaler.update()
        scheduler.step()


@pytest.mark.parametrize("name", ["static", "set", "rigl", "snfs", "cht", "deepr"])
def test_bfloat16_autocast(name: str) -> None:
    """PyTorch's own modules under autocast: weights and state stay float32, edges are edited, the budget holds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = sparsify(nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)), 0.4, seed=0)
    rewirer = make_rewirer(name, model, "adam-foreach")
    total = sum(len(pairs) for pairs in pairs_of(model))
    first = last = 0.0
    for _ in range(20):
        x, y = batch(0, torch.float32)
        rewirer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (model(x) - y).square().mean()
        loss.backward()
        rewirer.step()
        first, last = (first or loss.item()), loss.item()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(len(pairs) for pairs in pairs_of(model)) == total
    assert last < first


# -- shapes ------------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A small ResNet over (B, 6): 2-d convolutions, batch norm, a strided and a 1 x 1 shortcut, 3-d and transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.one = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.shortcut = nn.Conv2d(4, 8, 1, stride=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, groups=2)
        self.cube = nn.Conv3d(1, 2, 2)
        self.uncube = nn.ConvTranspose3d(2, 1, 2)
        self.head = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4)."""
        y = torch.relu(self.norm(self.stem(x.view(-1, 1, 2, 3))))
        y = torch.relu(self.two(torch.relu(self.one(y))) + self.shortcut(y))
        y = self.up(y)[:, None]
        result: Tensor = self.head(self.uncube(torch.tanh(self.cube(y))).flatten(1).repeat(1, 2)[:, :48])
        return result


@pytest.mark.parametrize("name", ALL)
def test_convolutions_of_every_dimension(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = sparsify(Residual().double(), 0.5, seed=0)
    kinds = {type(module).__name__ for module in model.modules()}
    assert {"Conv2d", "Conv3d", "ConvTranspose2d", "ConvTranspose3d", "Linear"} <= kinds
    assert len(edge_values(model)) == 8
    rewirer = make_rewirer(name, model)
    for step in range(6):
        train(model, rewirer, range(step, step + 1))
        assert sum(len(pairs) for pairs in pairs_of(model)) == rewirer.budget(step + 1)
        for one in edge_values(model):
            dense = one.parameter.detach().reshape(-1)
            held = torch.zeros(len(dense), dtype=torch.bool)
            for other in edge_values(model):
                if other.parameter is one.parameter:
                    held[other.index()] = True
            assert not dense[~held].any()
    assert name == "static" or len(rewirer.log) > 1


def test_growth_of_a_wide_layer_never_holds_all_pairs() -> None:
    """16,384 x 16,384 pairs would take 1 GB as float32; blocks, factors and the chosen pairs take a fraction."""
    import tracemalloc

    import deepgraph.kernels.growth as growth

    width, count = 16_384, 1_000
    rng = np.random.default_rng(0)
    src, dst = (rng.integers(0, width, 4_000) for _ in range(2))
    keys = np.unique(src * width + dst)
    pairs = AbsentPairs(width, width, keys // width, keys % width)
    generator = torch.Generator().manual_seed(0)
    a, dz = (torch.randn(width, 2, generator=generator) for _ in range(2))
    largest: list[int] = []
    original = growth.largest

    def watched(scores: Tensor, k: int, threshold: float = 0.0) -> Any:
        largest.append(scores.numel() * scores.element_size())
        return original(scores, k, threshold)

    tracemalloc.start()
    try:
        growth.largest = watched
        u, v, score = best_absent(pairs, [(a, dz)], count, ranked=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        growth.largest = original
        tracemalloc.stop()
    assert max(largest) <= growth.BLOCK_BYTES
    assert len(largest) >= 16
    assert peak < 4 * growth.BLOCK_BYTES
    assert len(np.unique(u * width + v)) == count
    np.testing.assert_allclose(np.abs((a[u] * dz[v]).sum(1).numpy()), score, rtol=1e-5)


@pytest.mark.slow
def test_a_wide_layer_is_rewired_in_bounded_memory() -> None:
    """A layer of 16,384 x 16,384 at 0.1 %: an update of RigL takes less than a quarter of one dense matrix."""
    import resource

    model = SparseLinear(16_384, 16_384, density=0.001, seed=0)
    optimizer = RigL(model, torch.optim.SGD(model.parameters(), lr=0.1), every=2, until=100, drop_fraction=0.1)
    x = torch.randn(8, 16_384)
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    taken = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert optimizer.edited
    assert taken < 16_384**2 * 4 / 4


def test_names_cover_all_rewirers() -> None:
    made = {type(make_rewirer(name, make_model("ffn", "csr"))) for name in ALL}
    assert {Static, SET, RigL, DEEPR, SoftDEEPR, GMP} <= made
    assert len(made) == len(ALL)
