"""What a rewirer cannot use: frozen weights stay as they are, and other states and parts are refused with a reason."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from rewire_models import OPTIMIZERS, batch, make_model, make_rewirer, pairs_of, train
from torch import nn

from deepgraph.errors import ArgumentError, DtypeError, EditRefusedError, UnsupportedOperationError
from deepgraph.rewire import DEEPR, GMP, SET, SNFS, RandomGrowth, Replay, RigL, SoftDEEPR, exploration
from deepgraph.sparse import MaskedDeepFFN, edge_values, follow, sparsify

ALL = ["static", "set", "rigl", "deepr", "softdeepr", "snfs", "gmp", "cht", "chts", "mest", "granet", "srigl"]


# -- frozen weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsified", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_frozen_weights_keep_edges_and_values(name: str, sparsified: bool) -> None:
    """A grown edge of a frozen weight would stay 0 for ever, so dropping there only destroys."""
    model: Any = make_model("ffn", "csr")
    if sparsified:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 4)).double()
        sparsify(model, 0.4, seed=0)
    frozen = edge_values(model)[0]
    frozen.parameter.requires_grad_(False)
    edges, weights = pairs_of(model)[0], frozen.values()
    rewirer = make_rewirer(name, model)
    for step in range(1, 9):
        train(model, rewirer, range(step, step + 1))
        assert sum(one.edge_set.num_edges for one in edge_values(model)) == rewirer.budget(step)
    assert pairs_of(model)[0] == edges
    assert torch.equal(frozen.values(), weights)
    assert not len(frozen.edge_set.history)
    assert name == "static" or any(len(one.edge_set.history) for one in edge_values(model)[1:])


def test_an_optimizer_need_not_hold_frozen_weights() -> None:
    model = make_model("ffn", "csr")
    edge_values(model)[0].parameter.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rewirer = RigL(model, torch.optim.SGD(trained, lr=0.1), every=2, seed=0)
    train(model, rewirer, 4)
    assert len(rewirer.log) == 2


@pytest.mark.parametrize("name", ["set", "rigl", "deepr"])
def test_weights_that_are_frozen_later_are_refused_at_the_next_edit(name: str) -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer(name, model)
    train(model, rewirer, 2)
    edge_values(model)[0].parameter.requires_grad_(False)
    before = pairs_of(model)
    with pytest.raises(EditRefusedError, match=r"layer 0: expected weights that train, .* got frozen ones; make a new"):
        train(model, rewirer, 2)
    assert pairs_of(model) == before
    again = make_rewirer(name, model)
    train(model, again, 4)
    assert pairs_of(model)[0] == before[0]


def test_weights_that_the_loss_does_not_depend_on() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.used(x)
            return result

    model = sparsify(Half().double(), 0.5, seed=0)
    with pytest.raises(EditRefusedError, match=r"idle.weight: .* freeze weights that the loss does not depend on"):
        train(model, make_rewirer("rigl", model), 2)
    model.idle.requires_grad_(False)
    rewirer = make_rewirer("rigl", model)
    train(model, rewirer, 4)
    assert len(rewirer.log) == 2


# -- optimizers that remember all weights together ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set", "rigl"])
def test_lbfgs_starts_anew_after_an_edit(name: str) -> None:
    """After an edit a step is that of a fresh LBFGS on the same weights: nothing of the old edges is remembered."""
    model = make_model("ffn", "csr")
    lbfgs = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    options: Any = {"every": 2, "until": 40, "seed": 0}
    rewirer = {"set": SET, "rigl": RigL}[name](model, lbfgs, **options)

    def stepped(model: nn.Module, optimizer: Any) -> None:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            x, y = batch(0)
            loss = (model(x) - y).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)

    for _ in range(2):
        stepped(model, rewirer)
    assert len(rewirer.log) == 1
    twin = copy.deepcopy(model)
    stepped(model, rewirer)
    stepped(twin, torch.optim.LBFGS(twin.parameters(), lr=0.5, max_iter=4))
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("given", ["adam", torch.optim.SGD])
def test_only_optimizers_follow(given: Any) -> None:
    with pytest.raises(DtypeError, match=r"optimizer: expected a torch.optim.Optimizer .*, got (str|the class SGD)"):
        follow(make_model("ffn", "csr"), given)


# -- states of others --------------------------------------------------------------------------------------------------


def test_states_that_do_not_fit_are_refused_before_anything_changes() -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer("rigl", model, "adamw")
    train(model, rewirer, 5)
    state = rewirer.state_dict()
    other = MaskedDeepFFN(6, 4, [7], density=0.4, seed=0, dtype=torch.float64)
    cases: list[tuple[nn.Module, str, Any, str]] = [
        (other, "adamw", state, "expected the state for 2 edge sets, as the model has, got that for 3"),
        (
            make_model("ffn", "csr", seed=5),
            "adamw",
            state,
            "for the edges of layer 0 as they are now, .* load the model's",
        ),
        (make_model("ffn", "csr"), "adamw", state, "for the edges of layer 0 as they are now"),
        (make_model("ffn", "csr"), "sgd", state, "expected the state of a RigL around SGD, got one around AdamW"),
        (make_model("ffn", "csr"), "adamw", {"rewire": {}}, "expected the state of a RigL, got that of no rewirer"),
    ]
    for target, optimizer, given, message in cases:
        fresh = make_rewirer("rigl", target, optimizer)
        capacities = [one.capacity for one in fresh.values]
        with pytest.raises(ArgumentError, match=message):
            fresh.load_state_dict(given)
        assert fresh.steps == 0
        assert [one.capacity for one in fresh.values] == capacities
        train(target, fresh, 3)
    with pytest.raises(DtypeError, match=r"state_dict: expected what state_dict\(\) returned, got str"):
        rewirer.load_state_dict("state")  # type: ignore[arg-type]
    # A state of before structures were recorded is taken as it is.
    del state["rewire"]["structures"], state["rewire"]["optimizer"]
    rewirer.load_state_dict(state)


# -- parts and arguments of the wrong kind -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"growth": RandomGrowth}, DtypeError, r"growth: expected a Growth, such as RandomGrowth\(\).*RandomGrowth'>"),
        ({"growth": "random"}, DtypeError, "growth: expected a Growth, .* got 'random'"),
        ({"drop": "magnitude"}, DtypeError, "drop: expected a function, or None .* got 'magnitude'"),
        ({"grown": 0.0}, DtypeError, r"grown: expected a function, or None .* got 0\.0"),
        ({"drop_fraction": True}, ArgumentError, "drop_fraction: expected a share .* got True"),
        ({"grown_std": float("inf")}, ArgumentError, "grown_std: expected a finite number >= 0, got inf"),
    ],
)
def test_parts(options: Any, error: type[Exception], message: str) -> None:
    model = make_model("ffn", "csr")
    with pytest.raises(error, match=message):
        SET(model, OPTIMIZERS["sgd"](model), **options)


def test_other_arguments() -> None:
    model = make_model("ffn", "csr")
    sgd = OPTIMIZERS["sgd"](model)
    with pytest.raises(ArgumentError, match=r"momentum: expected a number in \(0, 1\), got '1'"):
        SNFS(model, sgd, momentum="1")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="lr: expected a finite number >= 0, got SGD"):
        DEEPR(model, sgd)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="theta_min: expected a number < 0, got 'low'"):
        SoftDEEPR(model, theta_min="low")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"density: expected a number in \(0, 1\], .*, got None"):
        GMP(model, sgd, density=None, until=4)  # type: ignore[arg-type]
    for algorithm in (DEEPR, SoftDEEPR):
        for given in ("model", [1, 2]):
            with pytest.raises(DtypeError, match=rf"model: expected an nn\.Module .* got {type(given).__name__}"):
                algorithm(given)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"one for each of 3 edge sets .* got 1; pass the rewirer of the other run"):
        Replay(model, sgd, model.graph.history)


def test_weights_without_numbers() -> None:
    bare = MaskedDeepFFN(6, 4, [7], density=0.4, seed=0, device="meta")
    for make in (lambda: SET(bare, torch.optim.SGD(bare.parameters(), lr=0.1)), lambda: DEEPR(bare)):
        with pytest.raises(UnsupportedOperationError, match="model: expected weights, got a model on the device meta"):
            make()
    assert exploration(bare) == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize("name", ["deepr", "softdeepr"])
def test_a_walk_that_diverges_is_an_error(name: str) -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer(name, model)
    rewirer.zero_grad()
    (model(batch(0)[0]).sum() * float("nan")).backward()
    with pytest.raises(ArgumentError, match="expected finite weights, got NaN; gradients diverged"):
        rewirer.step()
