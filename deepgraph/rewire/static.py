"""`Static`: the protocol of a rewirer without an edit, the baseline of every comparison."""

from __future__ import annotations

from deepgraph.rewire.rewirer import Rewirer

__all__ = ["Static"]


class Static(Rewirer):
    """A rewirer that never edits: static sparse training under the protocol of the others.

    Takes the parameters of `Rewirer`; see there.

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`.

    Examples
    --------
    >>> import torch, deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = Static(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1, seed=0)
    >>> optimizer.edits_at(1), optimizer.budget(1)
    (False, 18)
    """

    def edits_at(self, step: int) -> bool:
        """Return False."""
        return False
