"""Every code block of the texts of five earlier systems runs here, verbatim but for a listed patch."""

from __future__ import annotations

import doctest
import inspect
import os
import runpy
import shlex
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seed_blocks import PATCHES, SYSTEMS, Block, blocks, patched
from torch import nn
from torch.nn import functional

import deepgraph as dg
from deepgraph.compat import deeprewire, fastsparse
from deepgraph.dataset import fashion_mnist_sample
from deepgraph.integrations import fastai
from deepgraph.sparse import SparseLayer, prune_sparse_model, set_global_k

ROOT = Path(__file__).parents[2]


def block(name: str) -> Block:
    system, number = name.split("-")
    return blocks(system)[int(number)]


def run(name: str, **names: Any) -> dict[str, Any]:
    """Run a block of Python and return its names."""
    scope = dict(names)
    exec(compile(patched(block(name)), name, "exec"), scope)
    return scope


def run_shell(name: str) -> subprocess.CompletedProcess[str]:
    """Run a block of shell commands in the root of the repository with this Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-e", "-c", patched(block(name))],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


def run_prompts(name: str, **names: Any) -> dict[str, Any]:
    """Run a block of `>>>` lines as a doctest and return its names."""
    test = doctest.DocTestParser().get_doctest(patched(block(name)), dict(names), name, None, 0)
    report: list[str] = []
    result = doctest.DocTestRunner().run(test, out=report.append, clear_globs=False)
    assert result.failed == 0, "".join(report)
    assert result.attempted > 0
    return test.globs


def run_indented(name: str, **names: Any) -> dict[str, Any]:
    """Run a block whose lines are indented, as inside a list."""
    lines = patched(block(name)).splitlines()
    code = "\n".join(line[1:] if line.startswith(" ") else line for line in lines)
    scope = dict(names)
    exec(compile(textwrap.dedent(code), name, "exec"), scope)
    return scope


# -- deepstruct -------------------------------------------------------------------------------------------------------


def test_deepstruct_feed_forward_pruned() -> None:
    scope = run("deepstruct-0")
    model = scope["model"]
    pairs = 784 * 200 + 200 * 100 + 100 * 10
    assert model.num_edges == pairs - round(0.1 * pairs)
    assert model(torch.zeros(3, 28, 28)).shape == (3, 10)


def test_deepstruct_network_from_a_graph() -> None:
    model = run("deepstruct-1")["model"]
    assert model(torch.zeros(3, 5)).shape == (3, 2)
    assert len(model.graph) == 20


def test_deepstruct_prior_structures() -> None:
    with warnings.catch_warnings():
        # Trees have few sources, and say so.
        warnings.simplefilter("ignore", UserWarning)
        scope = run("deepstruct-2")
    assert isinstance(scope["ds_graph_grid"], dg.CachedLayeredGraph)
    assert len(scope["ds_graph_smallworld"]) == 100
    assert scope["model"](torch.zeros(3, 5, 5)).shape == (3, 2)
    assert scope["model"].graph.number_of_edges() == 14


def test_deepstruct_extraction(capsys: pytest.CaptureFixture[str]) -> None:
    scope = run("deepstruct-3")
    assert capsys.readouterr().out.startswith("[0, 1, 2")
    assert len(scope["graph"]) == 25 + 8 + 2
    assert scope["graph"].number_of_edges() == scope["model"].num_edges


# -- DeepRewire -------------------------------------------------------------------------------------------------------


def test_deeprewire_usage() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(32, 4), torch.randn(32, 3)
    losses = []

    def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(50):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    names = {name: getattr(deeprewire, name) for name in deeprewire.__all__}
    model = run("deeprewire-0", torch=torch, nn=nn, train=train, **names)["model"]
    assert losses[-1] < losses[0]
    assert list(model.state_dict()) == ["weight", "bias"]
    assert (model.weight == 0).any()


@pytest.mark.parametrize("number", [1, 2])
def test_deeprewire_declarations(number: int) -> None:
    declared = run(f"deeprewire-{number}", nn=nn)["declared"]
    ours = [deeprewire.convert_to_deep_rewireable, deeprewire.convert_from_deep_rewireable][number - 1]
    wanted = [(p.name, p.default) for p in inspect.signature(declared).parameters.values()]
    found = [(p.name, p.default) for p in inspect.signature(ours).parameters.values()]
    assert found[: len(wanted)] == wanted


# -- ActuallySparse ---------------------------------------------------------------------------------------------------


def test_actuallysparse_converts_layers_and_models() -> None:
    scope = run_prompts("actuallysparse-0")
    scope = run_prompts("actuallysparse-1", **scope)
    x = torch.randn(5, 16)
    torch.testing.assert_close(scope["classifier_sparse"](x), scope["classifier"](x))


def test_actuallysparse_layers() -> None:
    scope = run_indented("actuallysparse-2", SparseLayer=SparseLayer, torch=torch)
    assert scope["result"].shape == (3,)
    layer = run_indented("actuallysparse-3", SparseLayer=SparseLayer)["newSparseLayer"]
    assert layer.k == 0.07
    assert layer.num_edges == 8


def test_actuallysparse_models_are_pruned() -> None:
    names = {"SparseLayer": SparseLayer, "set_global_k": set_global_k, "prune_sparse_model": prune_sparse_model}
    model = run_indented("actuallysparse-4", torch=torch, nn=nn, **names)["sparseClassifier"]
    assert [layer.num_edges for layer in model[::2]] == [256 - 18, 48 - 3]


def test_actuallysparse_installation() -> None:
    assert run_shell("actuallysparse-5").returncode == 0


# -- fastsparse -------------------------------------------------------------------------------------------------------


class CancelStepError(Exception):
    """Stands for fastai's CancelStepException."""


class StandInLearner:
    """Trains like fastai's, as far as the text uses it: its events, in its order, around each step."""

    training = True

    def __init__(self, data: Any, make: Any, **options: Any) -> None:
        self.model, self.losses = make(), []
        self.dls, self.n_epoch = SimpleNamespace(train=data), 0
        self.opt = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

    def fit_one_cycle(self, epochs: int, cbs: Any) -> None:
        self.cbs, self.n_epoch = [cbs], epochs
        cbs.learn = self
        cbs.before_fit()
        for _ in range(epochs):
            cbs.before_train()
            for x, y in self.dls.train:
                loss = functional.cross_entropy(self.model(x), y)
                loss.backward()
                try:
                    cbs.before_step()
                    raise AssertionError("the callback steps")
                except CancelStepError:
                    cbs.after_cancel_step()
                self.opt.zero_grad()
                self.losses.append(loss.item())


class EveryFourthBatch(fastai.DynamicSparseTraining):
    """The callback, which by default edits once an epoch."""

    def __init__(self, **presets: Any) -> None:
        super().__init__(**presets, batches_per_update=4, seed=0)


def sample_loader() -> list[tuple[torch.Tensor, torch.Tensor]]:
    x, y, _, _ = fashion_mnist_sample().tensors()
    return list(zip(x.flatten(1).split(100), y.split(100), strict=True))


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))


def test_fastsparse_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastai.callback.core", SimpleNamespace(CancelStepException=CancelStepError))
    monkeypatch.setattr(fastai, "__all__", [name for name in fastai.__all__ if not name.endswith("Callback")])
    scope = run(
        "fastsparse-0", sample_loader=sample_loader, small_network=small_network, cnn_learner=StandInLearner,
        error_rate=None, DynamicSparseTrainingCallback=EveryFourthBatch,
    )  # fmt: skip
    learner = scope["learn"]
    assert learner.losses[-1] < learner.losses[0]
    assert int((learner.model[0].weight != 0).sum()) <= 3920
    assert isinstance(scope["cbs"].rewirer, dg.RigL)
    assert len(scope["cbs"].rewirer.history) > 0
    assert not learner.model[0].weight._backward_hooks


def test_fastsparse_custom_distribution() -> None:
    # As printed, 1 is the sparsity of the first layer, which leaves nothing of it; the library's own function says 0.
    printed = run("fastsparse-1")["first_layer_dense_uniform"]
    params = [torch.ones(3, 2)] * 3
    assert printed(params, 0.9) == [1.0, 0.9, 0.9]
    with pytest.raises(ValueError, match=r"model_sparsity: expected a number in \[0, 1\)"):
        fastsparse.sparsify_model(small_network(), 0.9, sparse_init_f=printed)
    assert fastsparse.first_layer_dense_uniform(params, 0.9) == [0.0, 0.9, 0.9]


# -- ASLP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
def test_aslp_setup(number: int) -> None:
    assert run_shell(f"aslp-{number}").returncode == 0


@pytest.mark.parametrize(("number", "network"), [(2, "Conv4"), (3, "Conv6"), (4, "Conv2")])
def test_aslp_commands(
    number: int, network: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Elsewhere: where TensorBoard is installed the command writes its log here.
    monkeypatch.chdir(tmp_path)
    # In this process: a new one would spend seconds on importing torch.
    command, script, *arguments = shlex.split(patched(block(f"aslp-{number}")).replace("\\\n", " "))
    assert command == "python"
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(ROOT / script), run_name="__main__")
    out = capsys.readouterr().out
    assert f'"network": "{network}"' in out
    assert ('"test":' in out) == (number > 2)


# -- the table --------------------------------------------------------------------------------------------------------


def test_no_block_is_left_out() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    numbers = {"deepstruct": 4, "deeprewire": 3, "actuallysparse": 6, "fastsparse": 2, "aslp": 5}
    assert {system: len(blocks(system)) for system in SYSTEMS} == numbers
    spelled = source.replace('f"deeprewire-{number}"', '"deeprewire-1" "deeprewire-2"')
    spelled = spelled.replace('f"aslp-{number}"', " ".join(f'"aslp-{n}"' for n in range(5)))
    for system, count in numbers.items():
        for number in range(count):
            assert f'"{system}-{number}"' in spelled, f"{system}-{number} is not run"


def test_every_patch_has_a_reason_and_applies() -> None:
    for patch in PATCHES:
        assert len(patch.reason) > 10
        patched(block(patch.block))
