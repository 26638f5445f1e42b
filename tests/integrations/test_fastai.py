"""fastsparse's names at their place, and its callback: on a stand-in of fastai's learner, and on the real one."""

from __future__ import annotations

import itertools
import pickle
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import deepgraph as dg
from deepgraph.compat import fastsparse
from deepgraph.errors import ArgumentError, MissingDependencyError, ShapeError
from deepgraph.integrations import fastai as ours
from deepgraph.integrations.fastai_scores import ScoredRewirer
from deepgraph.rewire import SET, SNFS, RigL
from deepgraph.sparse import edge_values

PRESETS = {"set": (ours.SET_presets, SET), "snfs": (ours.SNFS_presets, SNFS), "rigl": (ours.RigL_presets, RigL)}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))


def data(count: int = 64) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(count, 20, generator=rng)
    return list(zip(x, x[:, :3].argmax(1), strict=True))


def train(model: nn.Module, optimizer: Any, steps: int) -> None:
    x, y = (torch.stack(side) for side in zip(*data(), strict=True))
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def scored(model: nn.Module, **options: Any) -> ScoredRewirer:
    options = {"keep_score_f": ours.weight_magnitude, "grow_score_f": ours.gradient_magnitude, **options}
    inner = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return ScoredRewirer(model, inner, every=3, until=12, seed=0, **options)


# -- names ------------------------------------------------------------------------------------------------------------


def test_every_name_of_fastsparse_is_here() -> None:
    assert set(fastsparse.__all__) <= set(ours.__all__)
    assert all(getattr(ours, name) is getattr(fastsparse, name) for name in fastsparse.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        ours.Trainer  # noqa: B018


def test_without_fastai_the_callback_says_what_to_do() -> None:
    if real_fastai() is not None:
        assert "DynamicSparseTrainingCallback" in ours.__all__
        return
    with pytest.raises(MissingDependencyError, match=r"expected fastai, got .*; pip install fastai"):
        ours.DynamicSparseTrainingCallback  # noqa: B018


# -- score functions --------------------------------------------------------------------------------------------------


def test_magnitude_and_gradient_are_rigl() -> None:
    # By the functions or by the algorithm: the same edges and the same weights.
    a, b = network(), network()
    for model in (a, b):
        ours.sparsify_model(model, 0.8, seed=0)
    rigl = RigL(a, torch.optim.SGD(a.parameters(), lr=0.1, momentum=0.9), every=3, until=12, seed=0)
    by_scores = scored(b)
    train(a, rigl, 12)
    train(b, by_scores, 12)
    assert len(by_scores.history) > 0
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_functions_of_ones_own_see_dense_gradients_and_give_shares() -> None:
    model = network()
    ours.sparsify_model(model, 0.5, seed=0)
    seen: list[float] = []

    def grow(p: torch.Tensor, opt: Any) -> torch.Tensor:
        assert opt.param_groups[0]["lr"] == 0.1
        seen.append((p.grad != 0).float().mean().item())
        return p.grad.abs()

    def all_to_the_first(params: Any, masks: Any, opt: Any) -> list[float]:
        assert [m.shape for m in masks] == [p.shape for p in params]
        assert all(m.dtype == torch.bool for m in masks)
        return [1.0, 0.0]

    before = [one.edge_set.num_edges for one in edge_values(model)]
    optimizer = scored(model, grow_score_f=grow, redistribute_f=all_to_the_first)
    train(model, optimizer, 12)
    after = [one.edge_set.num_edges for one in edge_values(model)]
    assert sum(after) == sum(before)
    assert after[1] < before[1]
    assert min(seen) > 0.5
    assert (model[2].weight.grad[~edge_values(model)[1].mask()] == 0).all()


def test_momentum_of_what_is_off_is_shown() -> None:
    # With the optimizer's own, every candidate would have 0.
    model = network()
    ours.sparsify_model(model, 0.5, seed=0)
    shown: list[torch.Tensor] = []

    def grow(p: torch.Tensor, opt: Any) -> torch.Tensor:
        shown.append(ours.gradient_momentum(p, opt))
        return shown[-1]

    optimizer = scored(model, grow_score_f=grow, redistribute_f=ours.momentum_redistribution)
    train(model, optimizer, 6)
    assert len(optimizer.history) > 0
    assert all((momentum != 0).float().mean() > 0.5 for momentum in shown)
    assert optimizer.average == 10


def test_attention_and_recurrent_weights_are_scored_by_their_parts() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.attention = nn.LSTM(20, 8), nn.MultiheadAttention(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.lstm(x[None])[0]
            return self.attention(h, h, h)[0][0, :, :3]

    torch.manual_seed(0)
    model = Net()
    ours.sparsify_model(model, 0.7, seed=0)
    before = [one.edge_set.num_edges for one in edge_values(model)]
    optimizer = scored(model, redistribute_f=lambda params, masks, opt: [m.float().mean().item() for m in masks])
    train(model, optimizer, 6)
    after = [one.edge_set.num_edges for one in edge_values(model)]
    assert len(optimizer.history) > 0
    assert sum(after) == sum(before)


def half(p: torch.Tensor, opt: Any) -> torch.Tensor:
    return p.detach()[:8]


def test_wrong_functions_are_refused() -> None:
    model = network()
    ours.sparsify_model(model, 0.8, seed=0)
    with pytest.raises(
        ShapeError, match=r"half: expected a score for each entry of a weight \(16, 20\), got \(8, 20\)"
    ):
        train(model, scored(model, keep_score_f=half), 3)
    one_share = scored(model, redistribute_f=lambda params, masks, opt: [1.0])
    with pytest.raises(ShapeError, match="redistribute_f: expected a share for each of 2 weights, got 1"):
        train(model, one_share, 3)
    with pytest.raises(ArgumentError, match="expected weights that sparsify_model made sparse"):
        scored(dg.MaskedDeepFFN(20, 3, [8], density=0.5, seed=0))
    for bad in (0.0, 1.5):
        with pytest.raises(ArgumentError, match=r"stop_pct: expected a share in \(0, 1\]"):
            ours.DynamicSparseTraining(stop_pct=bad)


# -- fastai's learner -------------------------------------------------------------------------------------------------


def real_fastai() -> Any:
    """Return fastai's parts that the tests use, or None where it, or its torchvision, cannot be imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _imported()


def _imported() -> Any:
    try:
        from fastai.callback.fp16 import MixedPrecision
        from fastai.callback.schedule import lr_find
        from fastai.callback.training import GradientAccumulation
        from fastai.data.core import DataLoaders
        from fastai.data.load import DataLoader
        from fastai.learner import Learner
        from fastai.optimizer import SGD, OptimWrapper
    except (ImportError, RuntimeError):
        return None
    return SimpleNamespace(
        Learner=Learner, DataLoaders=DataLoaders, DataLoader=DataLoader, GradientAccumulation=GradientAccumulation,
        SGD=SGD, OptimWrapper=OptimWrapper, lr_find=lr_find, MixedPrecision=MixedPrecision,
    )  # fmt: skip


@pytest.fixture
def fastai() -> Any:
    found = real_fastai()
    if found is None:
        pytest.skip("fastai cannot be imported: it needs torchvision, whose wheel is built for one torch and CUDA")
    return found


def noop(record: Any) -> None:
    """Print nothing of an epoch."""


def learner(fastai: Any, model: nn.Module, **options: Any) -> Any:
    loaders = [fastai.DataLoader(data(), bs=16, shuffle=False, num_workers=0) for _ in range(2)]
    made = fastai.Learner(fastai.DataLoaders(*loaders), model, loss_func=nn.CrossEntropyLoss(), **options)
    for progress in [cb for cb in made.cbs if type(cb).__name__ == "ProgressCallback"]:
        made.remove_cb(progress)
    made.logger = noop
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("opt", ["fastai", "torch"])
def test_presets_train_in_a_real_learner(fastai: Any, name: str, opt: str) -> None:
    presets, algorithm = PRESETS[name]
    model = network()
    hooks = ours.sparsify_model(model, 0.8, seed=0)
    edges = sum(one.edge_set.num_edges for one in edge_values(model))
    options = {} if opt == "fastai" else {"opt_func": wrapped(fastai)}
    callback = ours.DynamicSparseTrainingCallback(**presets, batches_per_update=3, seed=0)
    made = learner(fastai, model, cbs=callback, **options)
    losses: list[float] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = made.validate()[0]
        made.fit_one_cycle(12, 0.05)
        losses += [before, made.validate()[0]]
    assert losses[1] < losses[0]
    assert type(callback.rewirer) is algorithm
    assert len(callback.rewirer.history) > 0
    assert sum(one.edge_set.num_edges for one in edge_values(model)) == edges
    for one in edge_values(model):
        off = ~one.mask()
        assert (one.parameter[off] == 0).all()
        state = getattr(made.opt, "opt", made.opt).state[one.parameter]
        moments = [entry for entry in state.values() if isinstance(entry, torch.Tensor) and entry.shape == off.shape]
        assert moments
        assert all((entry[off] == 0).all() for entry in moments)
    for hook in hooks:
        hook.remove()


def wrapped(fastai: Any) -> Any:
    return lambda params, **rest: fastai.OptimWrapper(params, torch.optim.SGD, lr=0.1, momentum=0.9)


def noting(fastai: Any, seen: list[Any]) -> Any:
    """Return a callback that keeps the momentum and the edges of the first weight after every batch."""
    from fastai.callback.core import Callback

    class Notes(Callback):  # type: ignore[misc]
        def after_batch(self) -> None:
            if self.training:
                one = edge_values(self.model)[0]
                seen.append((self.opt.state[one.parameter]["grad_avg"].clone(), one.mask()))

    return Notes()


@pytest.mark.filterwarnings("ignore")
def test_momentum_of_kept_weights_stays_and_that_of_grown_ones_is_zero(fastai: Any) -> None:
    # fastsparse does the reverse.
    model = network()
    ours.sparsify_model(model, 0.8, seed=0)
    seen: list[Any] = []
    callback = ours.DynamicSparseTrainingCallback(**ours.RigL_presets, batches_per_update=3, seed=0)
    made = learner(fastai, model, cbs=[callback, noting(fastai, seen)])
    made.fit(3, 0.01)
    edits = [(a, b) for a, b in itertools.pairwise(seen) if not torch.equal(a[1], b[1])]
    assert len(edits) == 2
    for (old, was), (new, now) in edits:
        assert torch.equal(new[was & now], old[was & now])
        assert (new[now & ~was] == 0).all()
        assert (now & ~was).any()


@pytest.mark.filterwarnings("ignore")
def test_accumulated_gradients_choose_as_one_large_batch(fastai: Any) -> None:
    found = []
    for size, extra in ((64, []), (16, [fastai.GradientAccumulation(64)])):
        model = network()
        ours.sparsify_model(model, 0.8, seed=0)
        loaders = [fastai.DataLoader(data(), bs=size, shuffle=False, num_workers=0) for _ in range(2)]
        callback = ours.DynamicSparseTrainingCallback(**ours.RigL_presets, batches_per_update=1, seed=0)
        opt = {"opt_func": lambda params, **rest: fastai.SGD(params, lr=0.1)}
        made = fastai.Learner(
            fastai.DataLoaders(*loaders), model, loss_func=nn.CrossEntropyLoss(), cbs=[callback, *extra], **opt
        )
        with made.no_bar(), made.no_logging():
            made.fit(3, 0.1)
        found.append([one.mask() for one in edge_values(model)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.filterwarnings("ignore")
def test_the_rate_finder_edits_nothing_and_learners_are_saved(fastai: Any, tmp_path: Any) -> None:
    model = network()
    ours.sparsify_model(model, 0.8, seed=0)
    masks = [one.mask() for one in edge_values(model)]
    callback = ours.DynamicSparseTrainingCallback(**ours.RigL_presets, batches_per_update=2, seed=0)
    made = learner(fastai, model, cbs=callback, path=tmp_path)
    made.lr_find(num_it=6, show_plot=False)
    assert all(torch.equal(a, one.mask()) for a, one in zip(masks, edge_values(made.model), strict=True))
    made.fit(2, 0.01)
    masks = [one.mask() for one in edge_values(made.model)]
    assert not torch.equal(masks[0], torch.ones(16, 20) == 1)
    made.save("kept")
    made.fit(2, 0.01)
    made.load("kept")
    assert all(torch.equal(a, one.mask()) for a, one in zip(masks, edge_values(made.model), strict=True))
    twin = pickle.loads(pickle.dumps(callback))
    assert type(twin) is ours.DynamicSparseTrainingCallback
    assert twin.rewirer is None


@pytest.mark.filterwarnings("ignore")
def test_the_text_of_fastsparse_runs_with_the_real_library(fastai: Any) -> None:
    scope: dict[str, Any] = {}
    exec("from fastai.basics import *\nfrom deepgraph.integrations.fastai import *", scope)
    assert {"sparsify_model", "DynamicSparseTrainingCallback", "RigL_kwargs", "Learner"} <= set(scope)
