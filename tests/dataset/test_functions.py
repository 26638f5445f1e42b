"""Data sets of a function's samples: seeded, kept, of the declared shape."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from deepgraph.dataset import FuncDataset
from deepgraph.errors import ArgumentError, DtypeError, ShapeError


def product(x: torch.Tensor) -> torch.Tensor:
    return x.prod()


@given(size=st.integers(1, 20), shape=st.lists(st.integers(1, 3), max_size=3).map(tuple), seed=st.integers(0, 2**40))
@settings(max_examples=30)
def test_y_is_the_function_of_x(size: int, shape: tuple[int, ...], seed: int) -> None:
    data = FuncDataset(product, size=size, shape_input=shape, seed=seed)
    x, y = data.tensors()
    assert len(data) == size
    assert x.shape == (size, *shape)
    assert x.dtype == torch.float32
    assert bool(((x >= -1) & (x < 1)).all())
    assert torch.equal(y, torch.stack([product(row) for row in x]))


@pytest.mark.usefixtures("global_rng_untouched")
def test_same_seed_same_samples() -> None:
    one, two, other = (FuncDataset(product, 10, 3, seed=seed).tensors()[0] for seed in (5, 5, 6))
    generated = FuncDataset(product, 10, 3, seed=np.random.default_rng(5)).tensors()[0]
    assert torch.equal(one, two)
    assert torch.equal(one, generated)
    assert not torch.equal(one, other)


def test_without_a_seed_numpy_global_state_decides() -> None:
    state = np.random.get_state()
    try:
        samples = []
        for seed in (1, 1, 2):
            np.random.seed(seed)
            samples.append(FuncDataset(product, 4, 2).tensors()[0])
    finally:
        np.random.set_state(state)
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_samplers_with_and_without_a_generator() -> None:
    drawn = [FuncDataset(product, 6, 2, sampler=lambda rng: rng.normal(size=2), seed=3).tensors()[0] for _ in range(2)]
    assert torch.equal(drawn[0], drawn[1])
    assert drawn[0].dtype == torch.float64
    constant = FuncDataset(product, 3, (2, 2), sampler=lambda: np.arange(4.0), seed=0)
    assert constant[0][0].tolist() == [[0, 1], [2, 3]]
    with_defaults = FuncDataset(product, 3, 1, sampler=lambda low=2.0: [low], seed=0)
    assert with_defaults[2][1].item() == 2.0
    unsigned = FuncDataset(product, 2, 1, sampler=dict, seed=0)
    assert unsigned.sampler is dict


def test_setting_the_sampler_draws_anew() -> None:
    data = FuncDataset(product, size=3, shape_input=(2,), seed=0)
    first = data[0][0].clone()
    assert torch.equal(data[0][0], first)
    data.sampler = lambda: np.ones(2)
    assert data[0][0].tolist() == [1, 1]


def test_results_may_be_arrays_or_numbers() -> None:
    arrays = FuncDataset(lambda x: np.array([float(x[0]), 1.0]), size=2, shape_input=1, seed=0)
    assert tuple(arrays[0][1].shape) == (2,)
    numbers = FuncDataset(lambda x: 3, size=2, shape_input=1, seed=0)
    assert numbers.tensors()[1].tolist() == [3, 3]


def test_it_is_a_torch_data_set() -> None:
    data = FuncDataset(product, size=10, shape_input=(2,), seed=0)
    batches = list(DataLoader(data, batch_size=4))
    assert [len(y) for _, y in batches] == [4, 4, 2]
    assert len(list(data)) == 10
    assert torch.equal(data[-1][0], data[9][0])
    with pytest.raises(IndexError, match="out of bounds"):
        data[10]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fn": 3}, DtypeError, r"fn must be callable, got 3 \(int\); pass a function"),
        ({"sampler": "normal"}, DtypeError, r"sampler must be callable, got 'normal' \(str\)"),
        ({"size": 0}, ArgumentError, "size must be at least 1, got 0"),
        ({"shape_input": (2, 0)}, ArgumentError, re.escape("axes of at least 1, got (2, 0)")),
        ({"seed": 1.5}, DtypeError, r"seed must be an int, a numpy Generator or None, got 1.5 \(float\)"),
        ({"seed": True}, DtypeError, r"seed must be an int, .* got True \(bool\)"),
        ({"seed": -1}, ArgumentError, "seed must not be negative, got -1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        FuncDataset(**{"fn": product, "size": 4, "shape_input": (2,), **arguments})


def test_samples_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match=re.escape("draw 2 elements for shape_input=(2,), got shape (3,)")):
        FuncDataset(product, 4, 2, sampler=lambda: np.zeros(3)).tensors()
    growing = iter(range(1, 10))
    with pytest.raises(ShapeError, match=re.escape("one shape for every x, but gave (1,) and (2,)")):
        FuncDataset(lambda x: torch.zeros(next(growing)), 4, 2, seed=0).tensors()
