"""`Capture`: keeps what the gradients of absent edges are made of, from the backwards of one or several steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.sparse.values import EdgeValues

__all__ = ["Capture"]

Factors = tuple[Tensor, Tensor]


class Capture:
    """Arms edge values and keeps the factors (A (R, B), dZ (C, B)) of their backwards.

    The gradient of any pair (u, v), edge or not, is `(A[u] * dZ[v]).sum()`. Several backwards of one step add up, as
    they do in `parameter.grad`, and are forgotten together with it.

    Parameters
    ----------
    values : sequence of EdgeValues
        What to listen to.
    """

    def __init__(self, values: Sequence[EdgeValues]) -> None:
        self.values = list(values)
        self.armed = False
        self._kept: list[list[Factors]] = []

    def arm(self) -> None:
        """Let the next backwards be captured; does nothing where they are already."""
        if not self.armed:
            self._listen(True)
            self.armed = True

    def stop(self) -> None:
        """Stop capturing and forget everything."""
        self._listen(False)
        self.armed = False
        self._kept = []

    def forget(self) -> None:
        """Forget the backwards since the last step: their gradients were set to zero."""
        if self.armed:
            self._listen(False)
            self._listen(True)

    def keep(self) -> None:
        """Put the backwards of a finished step aside; those to come are added to them."""
        if self.armed:
            self._kept.append([self._newest(one) for one in self.values])
            self.forget()

    def _listen(self, on: bool) -> None:
        for one in self.values:
            one.arm(on)

    @staticmethod
    def _newest(values: EdgeValues) -> Factors:
        try:
            return values.factors()
        except EditRefusedError as error:
            raise EditRefusedError(
                f"{values.edge_set.name}: expected a forward and a backward before a step that edits edges, got none "
                "since the last step or zero_grad(); call backward() on the model's loss, then step()"
            ) from error

    def check(self) -> None:
        """Raise EditRefusedError unless every edge set has captured a backward."""
        for one in self.values:
            self._newest(one)

    def factors(self, values: EdgeValues) -> list[Factors]:
        """Return the captured `(A (R, B), dZ (C, B))` of one edge set by step, in float32 or float64.

        Raises
        ------
        EditRefusedError
            If nothing was captured.
        ArgumentError
            If a factor is not finite.
        """
        at = next(i for i, one in enumerate(self.values) if one is values)
        parts = [_widened(part) for part in (*(kept[at] for kept in self._kept), self._newest(values))]
        if not all(bool(torch.isfinite(side).all()) for part in parts for side in part):
            raise ArgumentError(
                f"{values.edge_set.name}: expected finite activations and gradients, got NaN or infinity; lower the "
                "learning rate, or call optimizer.zero_grad() after a step that a GradScaler skipped"
            )
        return parts

    def state(self) -> list[list[Factors]]:
        """Return what was put aside, for a checkpoint."""
        return [list(step) for step in self._kept]

    def load(self, kept: Sequence[Sequence[Factors]]) -> None:
        """Take over what `state` returned."""
        self._kept = [
            [(A.to(one.parameter), dZ.to(one.parameter)) for one, (A, dZ) in zip(self.values, step, strict=True)]
            for step in kept
        ]


def _widened(factors: Factors) -> Factors:
    # Sums over a batch in bfloat16 would make ties of most pairs.
    A, dZ = (side.float() if side.dtype.itemsize < 4 else side for side in factors)
    return A, dZ
