"""`Capture`: keeps what the gradients of absent edges are made of, from the backwards of one or several steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.sparse.values import EdgeValues

__all__ = ["Capture"]

Captured = tuple[Tensor, ...]
"""The factors (A (R, B), dZ (C, B)) of a module of ours, or the dense gradient (G (R, C),) of one of PyTorch."""


class Capture:
    """Arms edge values and keeps what their backwards capture.

    The gradient of any pair (u, v), edge or not, is `(A[u] * dZ[v]).sum()`, or `G[u, v]`. Several backwards of one step
    add up, as they do in `parameter.grad`, and are forgotten together with it.

    Parameters
    ----------
    values : sequence of EdgeValues
        What to listen to.
    decay : float
        Factor on all earlier steps at each further one, in (0, 1]: 1 sums gradients up, less makes a momentum.
    separate : bool
        Keep the steps apart and undecayed, dense gradients too, for what is no sum of gradients.
    """

    def __init__(self, values: Sequence[EdgeValues], decay: float = 1.0, separate: bool = False) -> None:
        self.values, self.decay, self.separate = list(values), decay, separate
        self.armed = False
        self._kept: list[list[Captured]] = [[] for _ in self.values]

    def arm(self) -> None:
        """Let the next backwards be captured; does nothing where they are already."""
        if not self.armed:
            self._listen(True)
            self.armed = True

    def stop(self) -> None:
        """Stop capturing and forget everything."""
        self._listen(False)
        self.armed = False
        self._kept = [[] for _ in self.values]

    def forget(self) -> None:
        """Forget the backwards since the last step: their gradients were set to zero."""
        if self.armed:
            self._listen(False)
            self._listen(True)

    def keep(self) -> None:
        """Put the backwards of a finished step aside; those to come are added to them."""
        if self.armed:
            self._kept = [self._with_newest(*each) for each in zip(self._kept, self.values, strict=True)]
            self.forget()

    def _listen(self, on: bool) -> None:
        for one in self.values:
            one.arm(on)

    @staticmethod
    def _newest(values: EdgeValues) -> Captured:
        try:
            return values.captured()
        except EditRefusedError as error:
            raise EditRefusedError(
                f"{values.edge_set.name}: expected a forward and a backward before a step that edits edges, got none "
                "since the last step or zero_grad(); call backward() on the model's loss, then step(); freeze weights "
                "that the loss does not depend on, by requires_grad_(False), before the rewirer is made"
            ) from error

    def _with_newest(self, kept: list[Captured], values: EdgeValues) -> list[Captured]:
        """Return the earlier steps, decayed, and the newest; dense gradients are added up at once."""
        newest = self._newest(values)
        if self.separate:
            return [*kept, newest]
        earlier = [(side[0] * self.decay, *side[1:]) for side in kept] if self.decay < 1 else kept
        return [(newest[0] + earlier[0][0],)] if len(newest) == 1 and earlier else [*earlier, newest]

    def check(self) -> None:
        """Raise EditRefusedError unless every edge set has captured a backward; those of one module do it together."""
        for one in {id(one.owner): one for one in reversed(self.values)}.values():
            self._newest(one)

    def captured(self, values: EdgeValues) -> list[Captured]:
        """Return what was captured of one edge set by step, in float32 or float64.

        Raises
        ------
        EditRefusedError
            If nothing was captured.
        ArgumentError
            If a number is not finite.
        """
        at = next(i for i, one in enumerate(self.values) if one is values)
        parts = [_widened(part) for part in self._with_newest(self._kept[at], values)]
        if not all(_is_finite(side) for part in parts for side in part):
            raise ArgumentError(
                f"{values.edge_set.name}: expected finite activations and gradients, got NaN or infinity; lower the "
                "learning rate, or call optimizer.zero_grad() after a step that a GradScaler skipped"
            )
        return parts

    def state(self) -> list[list[Captured]]:
        """Return what was put aside, for a checkpoint."""
        return [list(kept) for kept in self._kept]

    def load(self, kept: Sequence[Sequence[Captured]]) -> None:
        """Take over what `state` returned."""
        self._kept = [
            [tuple(side.to(one.parameter) for side in part) for part in parts]
            for one, parts in zip(self.values, kept, strict=True)
        ]


def _is_finite(side: Tensor) -> bool:
    # A sum is finite only where all numbers are; that of finite ones may overflow, so then all are looked at.
    return math.isfinite(side.sum()) or bool(torch.isfinite(side).all())


def _widened(captured: Captured) -> Captured:
    # Sums over a batch in bfloat16 would make ties of most pairs.
    return tuple(side.float() if side.dtype.itemsize < 4 else side for side in captured)
