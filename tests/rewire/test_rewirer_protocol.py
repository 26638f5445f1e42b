"""A rewirer is a torch optimizer: schedulers, scalers, closures, hooks, accumulation, resuming and seeds."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import pytest
import torch
from rewire_models import OPTIMIZERS, batch, make_model, make_rewirer, pairs_of, train
from torch import nn

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.rewire import SET, Rewirer, RigL, Static
from deepgraph.sparse import edge_values


def weights_of(model: nn.Module) -> list[bytes]:
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def test_groups_and_state_are_those_of_the_wrapped_optimizer() -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer("rigl", model, "adamw")
    train(model, rewirer, 3)
    assert isinstance(rewirer, torch.optim.Optimizer)
    assert rewirer.param_groups is rewirer.optimizer.param_groups
    assert rewirer.state is rewirer.optimizer.state
    rewirer.optimizer.load_state_dict(rewirer.optimizer.state_dict())
    assert rewirer.param_groups is rewirer.optimizer.param_groups
    assert rewirer.state is rewirer.optimizer.state
    rewirer.add_param_group({"params": [nn.Parameter(torch.zeros(2))], "lr": 7.0})
    assert [group["lr"] for group in rewirer.optimizer.param_groups] == [0.02, 7.0]
    assert repr(rewirer).startswith("RigL(every=2, until=40, drop_fraction=0.3, group='auto', AdamW (")


def test_static_is_the_wrapped_optimizer_bit_for_bit(kind: str) -> None:
    model, other = make_model(kind, "csr"), make_model(kind, "csr")
    static = make_rewirer("static", model, "adamw")
    train(model, static, 6)
    train(other, OPTIMIZERS["adamw"](other), 6)
    assert weights_of(model) == weights_of(other)
    assert (len(static.history), len(static.log), static.edited) == (0, 0, False)


def test_learning_rate_schedulers(algorithm: str) -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer(algorithm, model)
    scheduler = torch.optim.lr_scheduler.StepLR(rewirer, step_size=2, gamma=0.5)
    for step in range(4):
        train(model, rewirer, range(step, step + 1))
        scheduler.step()
    assert {group["lr"] for group in rewirer.optimizer.param_groups} == {0.05 / 4}
    assert rewirer.steps == 4


def test_an_edit_of_rigl_replaces_the_step_and_set_comes_after_it() -> None:
    for name, replaces in (("rigl", True), ("set", False)):
        model = make_model("ffn", "csr")
        rewirer = make_rewirer(name, model)
        train(model, rewirer, 1)
        assert not rewirer.edited
        bias = model.layers[0].bias.detach().clone()
        train(model, rewirer, range(1, 2))
        assert rewirer.edited
        assert torch.equal(bias, model.layers[0].bias) == replaces


def test_closures(algorithm: str) -> None:
    model, other = make_model("ffn", "csr"), make_model("ffn", "csr")
    plain, closing = make_rewirer(algorithm, model), make_rewirer(algorithm, other)
    train(model, plain, 5)
    for step in range(5):
        x, y = batch(step)

        def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
            closing.zero_grad()
            loss = (other(x) - y).square().mean()
            loss.backward()
            return loss

        assert closing.step(closure).item() > 0
    assert weights_of(model) == weights_of(other)
    assert pairs_of(model) == pairs_of(other)


def test_step_hooks_run_once(algorithm: str) -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer(algorithm, model)
    calls: list[str] = []
    rewirer.register_step_pre_hook(lambda *_: calls.append("before"))
    rewirer.register_step_post_hook(lambda *_: calls.append("after"))
    train(model, rewirer, 2)
    assert calls == ["before", "after"] * 2


def test_several_backwards_add_up() -> None:
    whole, halves = make_model("ffn", "csr"), make_model("ffn", "csr")
    one, two = make_rewirer("rigl", whole), make_rewirer("rigl", halves)
    train(whole, one, 6)
    for step in range(6):
        x, y = batch(step)
        two.zero_grad()
        for part in (slice(0, 10), slice(10, 16)):
            ((halves(x[part]) - y[part]).square().sum() / y.numel()).backward()
        two.step()
    assert pairs_of(whole) == pairs_of(halves)
    assert len(one.history) > 2


def test_zero_grad_forgets_absent_edges_too() -> None:
    clean, noisy = make_model("graph", "csr"), make_model("graph", "csr")
    one, two = make_rewirer("rigl", clean), make_rewirer("rigl", noisy)
    train(clean, one, 4)
    for step in range(4):
        noisy(batch(77)[0]).square().sum().backward()
        train(noisy, two, range(step, step + 1))
    assert pairs_of(clean) == pairs_of(noisy)


def test_grad_scaler() -> None:
    """Scaled losses make the same edits; a step that the scaler skips does not count and leaves no gradients behind."""
    plain, scaled = make_model("ffn", "csr"), make_model("ffn", "csr")
    one, two = make_rewirer("rigl", plain), make_rewirer("rigl", scaled)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
    train(plain, one, 6)
    for step in range(6):
        x, y = batch(step)
        for bad in (True, False) if step == 3 else (False,):
            two.zero_grad()
            scaler.scale((scaled(x * float("inf") if bad else x) - y).square().mean()).backward()
            scaler.step(two)
            scaler.update()
    assert two.steps == 6
    assert pairs_of(plain) == pairs_of(scaled)


@pytest.mark.parametrize("average", [1, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam-foreach", "rmsprop"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    algorithm: str, kind: str, storage: str, optimizer: str, average: int
) -> None:
    if (average > 1) != (algorithm == "rigl" and optimizer == "sgd"):
        average = 1
    options: dict[str, Any] = {"average": average, "every": 4} if average > 1 else {}
    model = make_model(kind, storage, dtype=torch.float32)
    rewirer = make_rewirer(algorithm, model, optimizer, **options)
    train(model, rewirer, 6)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": rewirer.state_dict()}, file)
    train(model, rewirer, range(6, 12))

    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    again = make_model(kind, storage, dtype=torch.float32)
    again.load_state_dict(loaded["model"])
    resumed = make_rewirer(algorithm, again, optimizer, seed=5, **options)
    resumed.load_state_dict(loaded["optimizer"])
    train(again, resumed, range(6, 12))
    assert weights_of(model) == weights_of(again)
    assert pairs_of(model) == pairs_of(again)
    assert resumed.steps == 12
    assert [row["step"] for row in resumed.log] == [row["step"] for row in rewirer.log]
    assert resumed.log == rewirer.log


def test_a_resumed_run_has_the_room_that_edge_sets_had() -> None:
    """With one budget for all layers their sizes shift; optimizer state is as long as the room was."""
    model = make_model("ffn", "csr")
    rewirer = make_rewirer("rigl", model, "adamw", group="graph")
    train(model, rewirer, 6)
    again = make_model("ffn", "csr")
    again.load_state_dict(model.state_dict())
    resumed = make_rewirer("rigl", again, "adamw", group="graph")
    resumed.load_state_dict(copy.deepcopy(rewirer.state_dict()))
    assert [one.capacity for one in edge_values(model)] == [one.capacity for one in edge_values(again)]
    for each in ((model, rewirer), (again, resumed)):
        train(*each, range(6, 12))
    assert weights_of(model) == weights_of(again)


def test_a_deep_copy_goes_on_by_itself(algorithm: str, storage: str) -> None:
    model = make_model("graph", storage)
    rewirer = make_rewirer(algorithm, model, "adamw")
    train(model, rewirer, 3)
    other, again = copy.deepcopy((model, rewirer))
    train(model, rewirer, range(3, 7))
    assert again.steps == 3
    train(other, again, range(3, 7))
    assert weights_of(model) == weights_of(other)
    assert pairs_of(model) == pairs_of(other)
    again.optimizer.load_state_dict(again.optimizer.state_dict())
    assert again.state is again.optimizer.state


def test_loading_restores_the_schedule() -> None:
    model = make_model("ffn", "csr")
    state = make_rewirer("rigl", model, every=7, until=70, drop_fraction=0.4).state_dict()
    other = make_rewirer("rigl", model, every=2)
    other.load_state_dict(state)
    assert (other.every, other.until, other.drop_fraction) == (7, 70, 0.4)
    of_function = RigL(model, OPTIMIZERS["sgd"](model), drop_fraction=lambda step: 0.25)
    of_function.load_state_dict(state | {"rewire": of_function.state_dict()["rewire"]})
    assert of_function.drop_share(3) == 0.25


def test_loading_another_state_is_refused() -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer("rigl", model)
    with pytest.raises(ArgumentError, match="expected the state of a RigL, got that of a plain optimizer"):
        rewirer.load_state_dict(rewirer.optimizer.state_dict())
    with pytest.raises(ArgumentError, match="expected the state of a RigL, got that of SET"):
        rewirer.load_state_dict(make_rewirer("set", model).state_dict())


@pytest.mark.usefixtures("global_rng_untouched")
def test_a_given_seed_leaves_global_random_state_alone(algorithm: str) -> None:
    runs = []
    for _ in range(2):
        model = make_model("graph", "csr")
        train(model, make_rewirer(algorithm, model, seed=11), 6)
        runs.append((pairs_of(model), weights_of(model)))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", ["set", "deepr"])
def test_manual_seed_governs_no_seed(name: str) -> None:
    runs = []
    for seed in (1, 1, 2):
        model = make_model("ffn", "csr")
        torch.manual_seed(seed)
        train(model, make_rewirer(name, model, seed=None), 8)
        runs.append(pairs_of(model))
    assert runs[0] == runs[1] != runs[2]


def test_an_edit_between_forward_and_backward_is_refused(algorithm: str) -> None:
    if algorithm == "static":
        return
    model = make_model("ffn", "csr")
    rewirer = make_rewirer(algorithm, model)
    train(model, rewirer, 1)
    before = weights_of(model), pairs_of(model), rewirer.steps
    x, y = batch(1)
    rewirer.zero_grad()
    (model(x) - y).square().mean().backward()
    waiting = model(x)
    with pytest.raises(EditRefusedError, match="between a forward and its backward"):
        rewirer.step()
    assert (weights_of(model), pairs_of(model), rewirer.steps) == before
    del waiting
    rewirer.step()
    assert rewirer.steps == 2


def test_an_edit_without_a_backward_is_refused() -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer("rigl", model)
    train(model, rewirer, 1)
    rewirer.zero_grad()
    with pytest.raises(EditRefusedError, match=r"expected a forward and a backward before a step that edits edges"):
        rewirer.step()
    assert rewirer.steps == 1


def test_gradients_that_are_not_finite_are_refused() -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer("rigl", model)
    train(model, rewirer, 1)
    before = pairs_of(model)
    (model(batch(0)[0]) * float("nan")).sum().backward()
    with pytest.raises(ArgumentError, match="expected finite activations and gradients, got NaN or infinity"):
        rewirer.step()
    assert (pairs_of(model), rewirer.steps) == (before, 1)
    train(model, rewirer, range(1, 2))
    assert (rewirer.edited, rewirer.steps) == (True, 2)
    assert pairs_of(model) != before


def test_nothing_is_edited_from_until_on() -> None:
    for name in ("set", "rigl"):
        model = make_model("ffn", "csr")
        rewirer = make_rewirer(name, model, every=2, until=6)
        train(model, rewirer, 12)
        assert [step for step in range(1, 13) if rewirer.edits_at(step)] == [2, 4]
        assert {edit.step for edit in rewirer.history} == {2, 4}


def test_history_forgets_what_was_undone() -> None:
    model = make_model("graph", "csr")
    rewirer = make_rewirer("rigl", model)
    train(model, rewirer, 4)
    assert [edit.step for edit in rewirer.history] == [2, 4]
    model.graph.undo()
    assert [edit.step for edit in rewirer.history] == [2]


def test_capturing_stops_between_edits() -> None:
    model = make_model("ffn", "csr")
    rewirer = make_rewirer("rigl", model, every=3)
    train(model, rewirer, 1)
    with pytest.raises(EditRefusedError):
        edge_values(model)[0].factors()
    for _ in range(2):
        train(model, rewirer, range(1, 2))
    assert rewirer.edited


def test_no_warning_is_given(algorithm: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make_model("dan", "csr")
        train(model, make_rewirer(algorithm, model), 4)


def test_all_are_rewirers() -> None:
    assert all(issubclass(one, Rewirer) for one in (SET, RigL, Static))
