"""`EdgeMasks`: an edge layer seen as a masked matrix (targets, sources), torch's orientation."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.graph.arrays import Array
from deepgraph.sparse.initialisation import draw_weights
from deepgraph.sparse.randomness import root_seed, torch_stream
from deepgraph.sparse.values import EdgeValues

__all__ = ["EdgeMasks"]


class EdgeMasks:
    """What a layer of edges adds to be masked, pruned and reset like a matrix; for classes with `edges: EdgeValues`.

    A dense matrix is made only where `mask` or `saliency` is asked for.
    """

    edges: EdgeValues

    @property
    def _shape(self) -> tuple[int, int]:
        return self.edges.edge_set.num_targets, self.edges.edge_set.num_sources

    def _places(self) -> tuple[Tensor, Tensor]:
        src, dst = (torch.from_numpy(np.array(ends, np.int64)) for ends in self.edges.edge_set.pairs())
        device = self.edges.parameter.device
        return dst.to(device), src.to(device)

    @property
    def mask(self) -> Tensor:
        """Which pairs are edges (C, R) bool; a copy. Setting it drops and grows edges as one edit; new ones are 0.

        Raises
        ------
        DtypeError, ShapeError, ArgumentError
            If what is set is no mask of that shape.
        EdgeError, EditRefusedError
            If a pair is not admissible, or between a forward and its backward.
        """
        found = torch.zeros(self._shape, dtype=torch.bool, device=self.edges.parameter.device)
        found[self._places()] = True
        return found

    @mask.setter
    def mask(self, mask: Any) -> None:
        if not isinstance(mask, Tensor):
            raise DtypeError(f"mask: expected a tensor of bool or of zeros and ones, got {type(mask).__name__}")
        if tuple(mask.shape) != self._shape:
            raise ShapeError(f"mask: expected shape {self._shape}, (targets, sources), got {tuple(mask.shape)}")
        if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
            raise ArgumentError("mask: expected zeros and ones, got other numbers; compare with a threshold first")
        v, u = np.nonzero(mask.detach().bool().cpu().numpy())
        self._become(u, v, "mask")

    def _become(self, u: Array, v: Array, reason: str) -> None:
        """Make the pairs (u, v) the edges."""
        edges = self.edges.edge_set
        src, dst = edges.pairs()
        have = src.astype(np.int64) * edges.num_targets + dst
        wanted = u.astype(np.int64) * edges.num_targets + v
        gone, new = ~np.isin(have, wanted), ~np.isin(wanted, have)
        if gone.any() or new.any():
            edges.edit(drop=(src[gone], dst[gone]), grow=(u[new], v[new]), reason=reason)

    @property
    def saliency(self) -> Tensor:
        """Importance of each pair (C, R): the edge column `saliency` where there is one, else |weight|; 0 off edges."""
        edges, size = self.edges.edge_set, self.edges.values().abs()
        if edges.columns.has("saliency"):
            kept = torch.from_numpy(np.array(edges.columns.array("saliency", np.nan), np.float64)).to(size)
            size = torch.where(kept.isnan(), size, kept)
        found = size.new_zeros(self._shape)
        found[self._places()] = size
        return found

    @saliency.setter
    def saliency(self, saliency: Tensor) -> None:
        if tuple(saliency.shape) != self._shape:
            raise ShapeError(f"saliency: expected shape {self._shape}, (targets, sources), got {tuple(saliency.shape)}")
        src, dst = self.edges.edge_set.pairs()
        self.edges.edge_set.columns.put("saliency", saliency.detach().cpu().double().numpy()[dst, src])

    def get_weight_count(self) -> int:
        """Return the number of edges."""
        return self.edges.edge_set.num_edges

    def apply_mask(self) -> Self:
        """Return the layer; what is no edge holds no weight."""
        self.edges.set_values(self.edges.values())
        return self

    def recompute_mask(self, theta: float = 0.001, keep_masked: bool = True) -> Self:
        """Drop edges below theta in magnitude, and return the layer.

        Without `keep_masked` and with theta 0 every pair becomes an edge again; pairs that are none weigh 0.

        Raises
        ------
        ArgumentError
            If theta is negative or NaN.
        EditRefusedError
            Between a forward and its backward.
        """
        if not 0 <= theta < math.inf:
            raise ArgumentError(f"theta: expected a finite number >= 0, got {theta}")
        if not keep_masked and theta == 0:
            self._become(*self._admissible(), "recompute_mask")
            return self
        rows = (self.edges.values().abs() < theta).cpu().numpy()
        if rows.any():
            src, dst = self.edges.edge_set.pairs()
            self.edges.edge_set.edit(drop=(src[rows], dst[rows]), reason="recompute_mask")
        return self

    def reset_parameters(self, keep_mask: bool = False) -> Self:
        """Draw weights anew by fan-in, set biases to 0, make every admissible pair an edge unless `keep_mask`."""
        if not keep_mask:
            self._become(*self._admissible(), "reset_parameters")
        edges = self.edges.edge_set
        stream = torch_stream(root_seed(None), 0)
        codes = np.zeros(edges.num_targets, np.uint8)
        self.edges.set_values(draw_weights(edges, codes, "fan_in", stream, self.edges.parameter.dtype))
        bias = getattr(self, "bias", None)
        if isinstance(bias, Tensor):
            bias.data.zero_()
        return self

    def _admissible(self) -> tuple[Array, Array]:
        edges = self.edges.edge_set
        if edges.stage is None:
            cells = np.arange(edges.num_sources * edges.num_targets)
            return cells // edges.num_targets, cells % edges.num_targets
        allowed = edges.stage[:, None] < edges.stage[None, :]
        if edges.closed is not None:
            allowed &= ~edges.closed[None, :]
        u, v = np.nonzero(allowed)
        return u, v
