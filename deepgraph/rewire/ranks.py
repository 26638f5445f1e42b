"""`Ranks`: what keeps the edges of a model the same in all processes of a DistributedDataParallel training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from deepgraph.errors import ArgumentError, EditRefusedError, StructureError
from deepgraph.graph.edge_set import EdgeSet

__all__ = ["Ranks"]


class Ranks:
    """The processes that train one model; a single one unless the model is wrapped in DistributedDataParallel.

    Parameters
    ----------
    model : nn.Module
        Pass the wrapped model, so that scores are summed over its processes before edges are chosen.

    Attributes
    ----------
    timeout : float
        Seconds that an edit waits for processes that do not come, 120; under gloo, other backends have their own.

    Examples
    --------
    >>> ranks = Ranks(nn.Linear(2, 2))
    >>> ranks.size, ranks.shared(7), ranks.sum is None
    (1, 7, True)
    """

    def __init__(self, model: nn.Module) -> None:
        self.group: Any = model.process_group if isinstance(model, DistributedDataParallel) else None
        self.size = 1 if self.group is None else torch.distributed.get_world_size(self.group)
        self.device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        self.timeout = 120.0
        self.sum = self._sum if self.size > 1 else None
        """Adds a tensor up over the processes, in place; None where there is one process."""

    def _together(self, collective: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Run a collective operation; EditRefusedError where a process does not take part in it."""
        try:
            collective(*arguments, group=self.group, **options)
        except RuntimeError as error:
            raise EditRefusedError(
                f"rank {torch.distributed.get_rank(self.group)}: expected all {self.size} processes at this edit, got "
                f"no answer from some: {str(error).splitlines()[0]:.300}; one has died or waits elsewhere, so end all "
                "and go on from the last checkpoint"
            ) from error

    def _sum(self, tensor: Tensor) -> None:
        self._together(torch.distributed.all_reduce, tensor)

    def meet(self) -> None:
        """Wait until all processes are here; EditRefusedError if one does not come in time."""
        if self.size > 1 and torch.distributed.get_backend(self.group) == "gloo":
            self._together(torch.distributed.monitored_barrier, timeout=timedelta(seconds=self.timeout))

    def shared(self, seed: int) -> int:
        """Return the seed of the first process."""
        if self.size == 1:
            return seed
        first = torch.tensor([seed], dtype=torch.int64, device=self.device)
        self._together(torch.distributed.broadcast, first, src=torch.distributed.get_global_rank(self.group, 0))
        return int(first)

    def _agree(self, content: bytes) -> bool:
        """Return whether all processes hold the same bytes."""
        number = int.from_bytes(hashlib.sha256(content).digest()[:7], "little")
        extremes = torch.tensor([number, -number], dtype=torch.int64, device=self.device)
        self._together(torch.distributed.all_reduce, extremes, torch.distributed.ReduceOp.MAX)
        return int(extremes[0]) == -int(extremes[1])

    def check(self, edge_sets: Sequence[EdgeSet]) -> None:
        """Raise StructureError unless all processes hold the same edges."""
        if self.size == 1:
            return
        sides = [np.ascontiguousarray(side).tobytes() for edges in edge_sets for side in edges.pairs()]
        if not self._agree(b"".join(sides)):
            raise StructureError(
                f"rank {torch.distributed.get_rank(self.group)}: expected the same edges in all {self.size} processes, "
                "got different ones; edit the model in all processes alike, and build it from one seed"
            )

    def check_options(self, *options: Any) -> None:
        """Raise ArgumentError unless what a rewirer was made with reads the same in all processes."""
        if self.size > 1 and not self._agree(repr(options).encode()):
            raise ArgumentError(
                f"rank {torch.distributed.get_rank(self.group)}: expected the same rewirer in all {self.size} "
                f"processes, got other options in some than {options}; make it alike everywhere"
            )
