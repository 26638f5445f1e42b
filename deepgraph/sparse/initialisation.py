"""Weights at the start, by the true fan-in of each neuron."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.kernels.activations import activation

__all__ = ["INITS", "draw_weights"]

INITS = ("fan_in", "xavier", "torch")


def draw_weights(edges: EdgeSet, codes: Array, init: str, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Return random weights (E,) in canonical order.

    Parameters
    ----------
    edges : EdgeSet
    codes : (C,) uint8
        Activation code of every target.
    init : {"fan_in", "xavier", "torch"}
        "fan_in": N(0, gain^2 / fan_in_v) for each target v by its own fan-in [1]_; "xavier": U(-a, a) with
        a = gain * sqrt(6 / (fan_in_v + fan_out_u)); "torch": U(-1, 1) / sqrt(num_sources), as `torch.nn.Linear`,
        whose fan-in does not know the mask.
    generator : torch.Generator
    dtype : torch.dtype

    Raises
    ------
    ArgumentError
        If `init` is none of these.

    References
    ----------
    .. [1] Evci et al. 2022, "Gradient Flow in Sparse Neural Networks and How Lottery Tickets Win", section 3.1.
       Differs from the paper: nothing for linear layers.

    Examples
    --------
    >>> edges = EdgeSet.from_pairs([0, 1, 2], [0, 0, 1], 3, 2)
    >>> draw_weights(edges, np.zeros(2, np.uint8), "torch", torch.Generator().manual_seed(0), torch.float32).shape
    torch.Size([3])
    """
    if init not in INITS:
        raise ArgumentError(f"init: expected one of {INITS}, got {init!r}")
    src, dst = edges.pairs()
    # Drawn in double precision or single, never less, so that a half-precision model starts at the rounded values.
    draw = torch.float64 if dtype == torch.float64 else torch.float32
    if init == "torch":
        values = torch.rand(len(dst), generator=generator, dtype=draw) * 2 - 1
        return (values / math.sqrt(max(edges.num_sources, 1))).to(dtype)
    fan_in = np.bincount(dst, minlength=edges.num_targets)
    known = np.unique(codes)
    gains = np.zeros(256)
    gains[known] = [activation(int(code)).gain for code in known]
    gain = gains[codes][dst]
    if init == "fan_in":
        scale = gain / np.sqrt(fan_in[dst])
        values = torch.randn(len(dst), generator=generator, dtype=draw)
    else:
        fan_out = np.bincount(src, minlength=edges.num_sources)
        scale = gain * np.sqrt(6.0 / (fan_in[dst] + fan_out[src]))
        values = torch.rand(len(dst), generator=generator, dtype=draw) * 2 - 1
    return (values * torch.from_numpy(scale).to(draw)).to(dtype)
