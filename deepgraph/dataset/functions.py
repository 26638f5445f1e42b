"""A torch data set of samples of a function: x drawn by a sampler, y = fn(x)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from deepgraph.errors import ArgumentError, DtypeError, ShapeError

__all__ = ["FuncDataset"]

Sampler = Callable[..., Any]


class FuncDataset(Dataset[tuple[Tensor, Tensor]]):
    """A map-style torch data set of `size` samples (x, fn(x)) of a function.

    The samples are drawn on the first access and kept: every pass sees the same ones. Setting `sampler` draws anew.

    Parameters
    ----------
    fn : callable
        Maps one x, a tensor of shape `shape_input`, to one y: a tensor, an array or a number, of one shape for all x.
    size : int
        The number of samples N, at least 1.
    shape_input : tuple of int
        The shape (S...) of one x; an int means one axis of that length.
    sampler : callable, optional
        Draws one x, an array with as many elements as `shape_input` says. It is called with a numpy `Generator` if it
        has a parameter without default, otherwise with nothing; only the first form follows `seed`. Default: uniform
        in [-1, 1), float32.
    seed : int, numpy.random.Generator or None
        Where the generator comes from. An int or a Generator leaves global random state alone; None takes a seed
        from numpy's global state.

    Raises
    ------
    DtypeError
        If `fn` or `sampler` cannot be called, or `seed` is none of the above.
    ArgumentError
        If `size` or an axis of `shape_input` is below 1, or `seed` is negative.
    ShapeError
        On first access, if an x has another number of elements than `shape_input` says, or y changes its shape.

    Examples
    --------
    >>> data = FuncDataset(lambda x: x.sum(), size=100, shape_input=(2,), seed=0)
    >>> x, y = data[0]
    >>> len(data), tuple(x.shape), bool(y == x.sum())
    (100, (2,), True)
    >>> paper = FuncDataset(torch.sin, size=5, shape_input=1, sampler=lambda rng: rng.normal(size=1), seed=0)
    >>> bool((paper[0][0] == FuncDataset(torch.sin, 5, 1, paper.sampler, seed=0)[0][0]).all())
    True
    """

    def __init__(
        self,
        fn: Callable[[Tensor], Any],
        size: int,
        shape_input: int | tuple[int, ...],
        sampler: Sampler | None = None,
        *,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        _check_callable("fn", fn)
        shape = (shape_input,) if isinstance(shape_input, int) else tuple(shape_input)
        if size < 1:
            raise ArgumentError(f"size must be at least 1, got {size}; say how many samples the data set has")
        if any(side < 1 for side in shape):
            raise ArgumentError(f"shape_input needs axes of at least 1, got {shape}; give the shape of one x")
        self._fn = fn
        self._size = size
        self._shape = shape
        self._rng = _generator(seed)
        self._samples: tuple[Tensor, Tensor] | None = None
        self.sampler = sampler

    @property
    def sampler(self) -> Sampler | None:
        """The callable that draws one x, or None for uniform values in [-1, 1)."""
        return self._sampler

    @sampler.setter
    def sampler(self, sampler: Sampler | None) -> None:
        if sampler is not None:
            _check_callable("sampler", sampler)
        self._sampler = sampler
        self._samples = None

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.tensors()
        return x[index], y[index]

    def tensors(self) -> tuple[Tensor, Tensor]:
        """All samples at once: x (N, S...) and y (N, ...).

        Raises
        ------
        ShapeError
            If an x has another number of elements than `shape_input` says, or y changes its shape.

        Examples
        --------
        >>> x, y = FuncDataset(lambda x: x @ x, size=3, shape_input=(4,), seed=0).tensors()
        >>> tuple(x.shape), tuple(y.shape)
        ((3, 4), (3,))
        """
        if self._samples is None:
            x = self._draw()
            self._samples = x, self._evaluate(x)
        return self._samples

    def _draw(self) -> Tensor:
        """The inputs (N, S...), one call of the sampler each."""
        if self._sampler is None:
            uniform = self._rng.random((self._size, *self._shape), dtype=np.float32)
            return torch.from_numpy(2 * uniform - 1)
        draw = self._sampler
        arguments = (self._rng,) if _wants_generator(draw) else ()
        rows = [torch.as_tensor(draw(*arguments)) for _ in range(self._size)]
        for row in rows:
            if row.numel() != math.prod(self._shape):
                raise ShapeError(
                    f"the sampler must draw {math.prod(self._shape)} elements for shape_input={self._shape}, got "
                    f"shape {tuple(row.shape)}; change shape_input or the sampler"
                )
        return torch.stack([row.reshape(self._shape) for row in rows])

    def _evaluate(self, x: Tensor) -> Tensor:
        """The values y (N, ...) of the function at every x."""
        rows = [torch.as_tensor(self._fn(row)) for row in x]
        for row in rows:
            if row.shape != rows[0].shape:
                raise ShapeError(
                    f"fn must give one shape for every x, but gave {tuple(rows[0].shape)} and {tuple(row.shape)}; "
                    "pad its result to one shape"
                )
        return torch.stack(rows)


def _check_callable(name: str, value: object) -> None:
    if not callable(value):
        raise DtypeError(f"{name} must be callable, got {value!r} ({type(value).__name__}); pass a function")


def _generator(seed: int | np.random.Generator | None) -> np.random.Generator:
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        return np.random.default_rng(np.random.randint(0, 2**31, size=4))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise DtypeError(f"seed must be an int, a numpy Generator or None, got {seed!r} ({type(seed).__name__})")
    if seed < 0:
        raise ArgumentError(f"seed must not be negative, got {seed}; any int from 0 on will do")
    return np.random.default_rng(seed)


def _wants_generator(sampler: Sampler) -> bool:
    """Whether the sampler has a parameter that must be given; builtins without a signature have none."""
    try:
        parameters = inspect.signature(sampler).parameters.values()
    except ValueError:
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)
