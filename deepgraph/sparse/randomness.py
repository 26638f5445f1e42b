"""Where randomness of modules comes from: a seed gives its own streams, `None` draws from torch's global generator."""

from __future__ import annotations

import numpy as np
import torch

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.graph.sampling import Seed

__all__ = ["Seed", "numpy_stream", "root_seed", "torch_stream"]


def root_seed(seed: Seed) -> int:
    """Return the integer in [0, 2**63) that all streams of one module are derived from.

    Raises
    ------
    ArgumentError
        If an integer seed is negative.
    DtypeError
        If `seed` is neither an integer, a generator nor None.

    Examples
    --------
    >>> root_seed(3)
    3
    """
    if seed is None or isinstance(seed, torch.Generator):
        return int(torch.randint(2**63 - 1, (), generator=seed))
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63 - 1))
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise DtypeError(f"seed: expected an integer, a torch or numpy Generator, or None, got {seed!r}")
    if not 0 <= seed < 2**63:
        raise ArgumentError(f"seed: expected an integer in [0, 2**63), got {seed}")
    return int(seed)


def _child(seed: int, *path: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=path)


def numpy_stream(seed: int, *path: int) -> np.random.Generator:
    """Return an independent numpy generator for one purpose, named by `path`."""
    return np.random.default_rng(_child(seed, *path))


def torch_stream(seed: int, *path: int) -> torch.Generator:
    """Return an independent torch generator (CPU) for one purpose, named by `path`."""
    state = int(_child(seed, *path).generate_state(1, np.uint64)[0]) >> 1
    return torch.Generator().manual_seed(state)
