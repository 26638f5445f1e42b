"""Measuring side by side: order, ratios, errors. No test depends on how long anything takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepgraph.demo.timing import Ratio, Timings, interleave, threads, training_step
from deepgraph.errors import ArgumentError


def test_rounds_alternate_the_order_and_measure_every_second_call() -> None:
    calls: list[str] = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = interleave(steps, rounds=2, warmup=1)
    assert "".join(calls) == "ccbbaa" + "aabbcc" + "ccbbaa"
    assert {name: len(found) for name, found in times.seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_ratio_is_formed_within_rounds() -> None:
    slow_machine = np.array([1.0, 10.0, 1.0, 10.0])
    times = Timings({"dense": 6 * slow_machine, "csr": slow_machine})
    assert times.ratio("dense", "csr") == Ratio(6.0, 6.0, 6.0)
    assert times.milliseconds("csr") == pytest.approx(5500.0)


def test_plain_data() -> None:
    content = Timings({"a": np.array([0.001, 0.002, 0.003])}).to_dict()
    assert content["rounds"] == 3
    assert content["steps"]["a"]["median_ms"] == pytest.approx(2.0)
    assert Timings({}).to_dict() == {"rounds": 0, "steps": {}}


@pytest.mark.parametrize("options", [{"rounds": 0}, {"warmup": -1}])
def test_bad_rounds(options: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match="expected rounds >= 1 and warmup >= 0, got"):
        interleave({"a": lambda: None}, **options)


def test_a_training_step_trains_classes_and_numbers() -> None:
    x = torch.ones(4, 3)
    for y in (torch.zeros(4, dtype=torch.int64), torch.zeros(4, 2)):
        model = torch.nn.Linear(3, 2)
        before = model.weight.detach().clone()
        training_step(model, torch.optim.SGD(model.parameters(), lr=0.1), x, y)()
        assert not torch.equal(model.weight, before)


def test_threads_are_given_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), threads(2):
        _ = 1 / 0
    assert torch.get_num_threads() == before
    with pytest.raises(ArgumentError, match="expected at least 1 thread, got 0"), threads(0):
        pass
