"""`Ranks`: what keeps the edges of a model the same in all processes of a DistributedDataParallel training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from deepgraph.errors import StructureError
from deepgraph.graph.edge_set import EdgeSet

__all__ = ["Ranks"]


class Ranks:
    """The processes that train one model; a single one unless the model is wrapped in DistributedDataParallel.

    Parameters
    ----------
    model : nn.Module
        Pass the wrapped model, so that scores are summed over its processes before edges are chosen.

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
        self.sum = self._sum if self.size > 1 else None
        """Adds a tensor up over the processes, in place; None where there is one process."""

    def _sum(self, tensor: Tensor) -> None:
        torch.distributed.all_reduce(tensor, group=self.group)

    def shared(self, seed: int) -> int:
        """Return the seed of the first process."""
        if self.size == 1:
            return seed
        first = torch.tensor([seed], dtype=torch.int64, device=self.device)
        torch.distributed.broadcast(first, src=torch.distributed.get_global_rank(self.group, 0), group=self.group)
        return int(first)

    def check(self, edge_sets: Sequence[EdgeSet]) -> None:
        """Raise StructureError unless all processes hold the same edges."""
        if self.size == 1:
            return
        sha = hashlib.sha256()
        for edges in edge_sets:
            for side in edges.pairs():
                sha.update(np.ascontiguousarray(side).tobytes())
        number = int.from_bytes(sha.digest()[:7], "little")
        extremes = torch.tensor([number, -number], dtype=torch.int64, device=self.device)
        torch.distributed.all_reduce(extremes, torch.distributed.ReduceOp.MAX, group=self.group)
        if int(extremes[0]) != -int(extremes[1]):
            raise StructureError(
                f"rank {torch.distributed.get_rank(self.group)}: expected the same edges in all {self.size} processes, "
                "got different ones; edit the model in all processes alike, and build it from one seed"
            )
