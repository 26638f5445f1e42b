"""How large a share of the edges an edit drops, by training step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from deepgraph.errors import ArgumentError

__all__ = ["Decay", "drop_share"]

Decay: TypeAlias = Literal["cosine", "linear", "constant"]


def drop_share(
    step: int, fraction: float | Callable[[int], float], until: int | None = None, decay: Decay = "constant"
) -> float:
    """Return the share of edges, in [0, 1], that an edit at `step` drops.

    Parameters
    ----------
    step : int
        Optimizer steps so far, >= 0.
    fraction : float in (0, 1] or callable
        Share at step 0, called alpha in RigL and zeta in SET; or a function of the step, which then decides alone.
    until : int or None
        The step at which "cosine" and "linear" reach 0. None keeps the share constant.
    decay : {"cosine", "linear", "constant"}
        alpha / 2 (1 + cos(pi t / T)), alpha (1 - t / T), or alpha.

    Raises
    ------
    ArgumentError
        If `decay` is none of these, or a callable `fraction` returns something outside [0, 1].

    Notes
    -----
    "cosine" is equation 1 of Evci et al. 2020 [1]_ (`f_decay`).

    References
    ----------
    .. [1] Evci, Gale, Menick, Castro, Elsen: Rigging the lottery: making all tickets winners, ICML 2020,
       arXiv 1911.11134.

    Examples
    --------
    >>> [round(drop_share(t, 0.3, 100, "cosine"), 3) for t in (0, 50, 100)]
    [0.3, 0.15, 0.0]
    >>> drop_share(25, 0.4, 100, "linear"), drop_share(25, 0.4), drop_share(2, lambda t: 1 / t)
    (0.30000000000000004, 0.4, 0.5)
    """
    if decay not in get_args(Decay):
        raise ArgumentError(f"decay: expected one of {get_args(Decay)}, got {decay!r}")
    if callable(fraction):
        share = float(fraction(step))
        if not 0 <= share <= 1:
            raise ArgumentError(
                f"drop_fraction: expected the function to return a share in [0, 1], got {share} at {step}"
            )
        return share
    if until is None or decay == "constant":
        return fraction
    done = min(step / until, 1.0)
    return fraction / 2 * (1 + math.cos(math.pi * done)) if decay == "cosine" else fraction * (1 - done)
