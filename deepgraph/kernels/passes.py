"""`Passes`: which forward passes of a network wait for their backward, and which came before an edit."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from deepgraph.errors import EditRefusedError

__all__ = ["Passes"]


class _Pass:
    """One forward pass, known by the storage that it saved: alive until autograd lets go of that storage."""

    __slots__ = ("consumed", "storage", "version")

    def __init__(self, storage: Any, version: int) -> None:
        self.storage, self.version, self.consumed = storage, version, False

    def expired(self) -> bool:
        return bool(self.storage.expired())


class Passes:
    """Remembers the forward passes of one network by a tensor that each of them saved for its backward.

    Attributes
    ----------
    version : int
        Number of times that `outdate` was called.
    """

    def __init__(self) -> None:
        self.version = 0
        self._passes: dict[int, _Pass] = {}
        self._cause = ""

    def __getstate__(self) -> dict[str, Any]:
        # A copy has no passes of its own, and a reference to a storage must be freed once only.
        return {**self.__dict__, "_passes": {}}

    def pending(self) -> bool:
        """Return whether a forward pass is alive whose backward has not run; an edit now would make it wrong."""
        for key in [key for key, entry in self._passes.items() if entry.expired()]:
            del self._passes[key]
        return any(not entry.consumed for entry in self._passes.values())

    def outdate(self, cause: str) -> None:
        """Refuse the backward of every forward pass made so far: the edges it saw are no more."""
        self.version += 1
        self._cause = cause

    def note(self, saved: Tensor) -> None:
        """Remember a forward pass by what it saved."""
        storage = StorageWeakRef(saved.untyped_storage())  # type: ignore[no-untyped-call]
        if len(self._passes) > 16:
            self.pending()
        self._passes[storage.cdata] = _Pass(storage, self.version)

    def consume(self, saved: Tensor) -> None:
        """Mark the forward pass that saved this as done.

        Raises
        ------
        EditRefusedError
            If the network was edited since.
        """
        entry = self._passes.get(saved.untyped_storage()._cdata)
        if entry is None:
            return
        if entry.version != self.version:
            raise EditRefusedError(
                f"this backward belongs to a forward pass before {self.version - entry.version} edits, the last one "
                f"because {self._cause}; run the forward pass again"
            )
        entry.consumed = True
