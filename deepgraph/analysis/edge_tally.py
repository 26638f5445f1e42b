"""What happened to the edges of one edge set since a start: how many went, came, stayed, and were ever there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.analysis.edges import IntArray
from deepgraph.errors import ArgumentError

if TYPE_CHECKING:
    from deepgraph.graph import EdgeEdit, EdgeSet

__all__ = ["EdgeTally"]

_LOADED = "load_state_dict"


class EdgeTally:
    """Counts that follow the edits of one edge set.

    Parameters
    ----------
    edge_set : EdgeSet
        Its present edges are the start.

    Attributes
    ----------
    start : (S,) int64
        The edges at the start, as sorted keys source * num_targets + target.
    ever : (A,) int64
        The edges that were there at any time since, as sorted keys.
    common : int
        Edges of the start that are there now.
    version : int
        That of the edge set at the start.
    dropped, grown : int
        Edges that went and came since `reset_counts`; an edge that one edit drops and grows back has done neither.

    Notes
    -----
    O(K log E) for an edit of K edges, and O(A) where an edge is new. A state dict that the model adopts is no edit of
    training: its edges count as present, not as grown.

    Examples
    --------
    >>> from deepgraph.graph import EdgeSet
    >>> edges = EdgeSet.from_pairs([0, 1], [0, 1], 2, 2)
    >>> tally = EdgeTally(edges)
    >>> _ = edges.edit(drop=([0], [0]), grow=([0], [1]))
    >>> tally.dropped, tally.common, len(tally.ever)
    (1, 1, 3)
    """

    def __init__(self, edge_set: EdgeSet) -> None:
        self.edge_set = edge_set
        self.begin()
        edge_set.listen(self)

    def begin(self) -> None:
        """Make the present edges the start, and forget all edits."""
        self.dropped = self.grown = 0
        self.version = self.edge_set.version
        self.start = self._keys(*self.edge_set.pairs())
        self.ever = self.start
        self.common = len(self.start)

    def _keys(self, src: IntArray, dst: IntArray) -> IntArray:
        """Return the pairs (K,) as int64 keys; ascending where the pairs are in canonical order."""
        keys: IntArray = np.asarray(src, dtype=np.int64) * self.edge_set.num_targets + dst
        return keys

    def reset_counts(self) -> None:
        """Count dropped and grown edges from 0 again."""
        self.dropped = self.grown = 0

    # -- EdgeListener ---------------------------------------------------------------------------------------------

    def edit_check(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Refuse nothing."""

    def edit_done(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Follow an edit."""
        gone, came = self._keys(*edit.dropped), self._keys(*edit.grown)
        if edit.reason == _LOADED:
            # A recorder that was loaded first knows these edges already, so the difference would be wrong.
            self.common = int(_among(self._keys(*edge_set.pairs()), self.start).sum())
        else:
            self.common += int(_among(came, self.start).sum()) - int(_among(gone, self.start).sum())
            stayed = int(_among(gone, came).sum())
            self.dropped += len(gone) - stayed
            self.grown += len(came) - stayed
        new = came[~_among(came, self.ever)]
        if new.size:
            self.ever = np.insert(self.ever, np.searchsorted(self.ever, new), new)

    # -- resuming -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything as plain numbers and tensors."""
        import torch

        return {
            "shape": [self.edge_set.num_sources, self.edge_set.num_targets],
            "start": torch.from_numpy(self.start.copy()),
            "ever": torch.from_numpy(self.ever.copy()),
            "common": self.common,
            "dropped": self.dropped,
            "grown": self.grown,
        }

    def check(self, state: dict[str, Any]) -> None:
        """Raise `ArgumentError` where a state belongs to an edge set of another shape."""
        shape = [self.edge_set.num_sources, self.edge_set.num_targets]
        if list(state["shape"]) != shape:
            raise ArgumentError(
                f"state_dict: expected {self.edge_set.name!r} of shape {shape}, got {list(state['shape'])}; "
                "build the same model as when it was saved"
            )

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.start, self.ever = state["start"].cpu().numpy().copy(), state["ever"].cpu().numpy().copy()
        self.common, self.dropped, self.grown = state["common"], state["dropped"], state["grown"]


def _among(keys: IntArray, known: IntArray) -> Any:
    """Return (K,) whether each key is in the ascending `known`."""
    if not len(known):
        return np.zeros(len(keys), np.bool_)
    return known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
