"""Distributions of sparsity over weights, scores that say which weights to keep or grow, and presets of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepgraph.errors import ArgumentError, ShapeError

__all__ = [
    "RigL_presets",
    "SET_presets",
    "SNFS_presets",
    "checked_sparsity",
    "erdos_renyi_sparsity",
    "first_layer_dense_uniform",
    "gradient_magnitude",
    "gradient_momentum",
    "momentum_redistribution",
    "random_score",
    "uniform_sparsity",
    "weight_magnitude",
]


# -- distributions ----------------------------------------------------------------------------------------------------


def checked_sparsity(sparsity: float) -> float:
    """Return a sparsity as a float; ArgumentError if it is not in [0, 1)."""
    if not 0 <= sparsity < 1:
        raise ArgumentError(f"model_sparsity: expected a number in [0, 1), the share that is off, got {sparsity}")
    return float(sparsity)


def uniform_sparsity(params: Sequence[Tensor], model_sparsity: float) -> list[float]:
    """Return the same sparsity for each of the weights.

    Raises
    ------
    ArgumentError
        If the sparsity is not in [0, 1).

    Examples
    --------
    >>> uniform_sparsity([torch.ones(3, 2), torch.ones(2, 3)], 0.9)
    [0.9, 0.9]
    """
    return [checked_sparsity(model_sparsity)] * len(params)


def first_layer_dense_uniform(params: Sequence[Tensor], model_sparsity: float) -> list[float]:
    """Return sparsity 0 for the first weight and the same for all others.

    Raises
    ------
    ArgumentError
        If the sparsity is not in [0, 1).

    Examples
    --------
    >>> first_layer_dense_uniform([torch.ones(3, 2), torch.ones(2, 3)], 0.9)
    [0.0, 0.9]
    """
    return [0.0, *uniform_sparsity(params[1:], model_sparsity)] if params else []


def erdos_renyi_sparsity(
    params: Sequence[Tensor], model_sparsity: float, include_kernel: bool = True, erk_power_scale: float = 1.0
) -> list[float]:
    """Return the sparsity of each weight by Erdos-Renyi(-kernel); together they keep what the model's sparsity keeps.

    Parameters
    ----------
    params : sequence of Tensor
        (out, in) or (out, in, *kernel).
    model_sparsity : float
        In [0, 1).
    include_kernel : bool
        Whether the kernel counts in sum and product of sizes.
    erk_power_scale : float
        Power of sum over product, >= 0; 0 is uniform.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    ShapeError
        If a weight has fewer than two dimensions.

    Examples
    --------
    >>> weights = [torch.ones(300, 784), torch.ones(100, 300), torch.ones(10, 100)]
    >>> [round(s, 3) for s in erdos_renyi_sparsity(weights, 0.95)]
    [0.962, 0.889, 0.081]
    """
    density = 1 - checked_sparsity(model_sparsity)
    if not 0 <= erk_power_scale < math.inf:
        raise ArgumentError(f"erk_power_scale: expected a finite number >= 0, got {erk_power_scale}")
    if any(p.dim() < 2 for p in params):
        raise ShapeError("params: expected weights of at least two dimensions, got one with fewer")
    size = np.array([p.numel() for p in params], np.float64)
    dims = [tuple(p.shape) if include_kernel else tuple(p.shape[:2]) for p in params]
    raw = np.array([(sum(dim) / math.prod(dim)) ** erk_power_scale for dim in dims])
    dense = np.zeros(len(size), bool)
    kept = np.ones(len(size))
    while not dense.all():
        budget = density * size.sum() - size[dense].sum()
        kept = np.where(dense, 1.0, raw * budget / (raw * size)[~dense].sum())
        above = ~dense & (kept > 1)
        if not above.any():
            break
        dense |= above
    return (1 - np.clip(kept, 0, 1)).tolist() if len(size) else []


# -- scores -----------------------------------------------------------------------------------------------------------


def random_score(p: Tensor, **rest: Any) -> Tensor:
    """Return uniform random scores in [0, 1), of the weight's shape, from torch's global generator.

    Examples
    --------
    >>> random_score(torch.ones(3, 2)).shape
    torch.Size([3, 2])
    """
    return torch.rand_like(p, requires_grad=False)


def weight_magnitude(p: Tensor, **rest: Any) -> Tensor:
    """Return |weight|.

    Examples
    --------
    >>> weight_magnitude(torch.tensor([-2.0, 1.0])).tolist()
    [2.0, 1.0]
    """
    return p.detach().abs()


def gradient_magnitude(p: Tensor, **rest: Any) -> Tensor:
    """Return |gradient|.

    Raises
    ------
    ArgumentError
        If there is no gradient.

    Examples
    --------
    >>> p = torch.nn.Parameter(torch.ones(2))
    >>> (p * torch.tensor([3.0, -1.0])).sum().backward()
    >>> gradient_magnitude(p).tolist()
    [3.0, 1.0]
    """
    if p.grad is None:
        raise ArgumentError("p: expected a weight with a gradient, got none; call backward() first")
    return p.grad.detach().abs()


def gradient_momentum(p: Tensor, opt: Any, **rest: Any) -> Tensor:
    """Return |momentum| of a weight from the state of its optimizer, over the root of second moments where it has them.

    Parameters
    ----------
    p : Parameter
    opt : torch.optim.Optimizer or fastai Optimizer
        SGD with momentum, Adam and alike, or fastai's.

    Raises
    ------
    ArgumentError
        If the optimizer has no momentum for the weight.

    Examples
    --------
    >>> p = torch.nn.Parameter(torch.ones(2))
    >>> opt = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    >>> (p * torch.tensor([3.0, -1.0])).sum().backward()
    >>> opt.step()
    >>> gradient_momentum(p, opt).tolist()
    [3.0, 1.0]
    """
    state = opt.state.get(p, {})
    for first, second in (("exp_avg", "exp_avg_sq"), ("momentum_buffer", None), ("grad_avg", "sqr_avg")):
        if isinstance(state.get(first), Tensor):
            momentum: Tensor = state[first].detach().abs()
            squares = state.get(second) if second else None
            return momentum if squares is None else momentum / (squares.detach() + 1e-12).sqrt()
    raise ArgumentError(
        "opt: expected an optimizer with momentum that has stepped, got none for this weight; set momentum="
    )


def momentum_redistribution(params: Sequence[Tensor], masks: Sequence[Tensor], opt: Any) -> list[float]:
    """Return the share of grown weights that each weight gets, in proportion to the mean |momentum| of its own; sum 1.

    Parameters
    ----------
    params : sequence of Parameter
    masks : sequence of bool Tensor
        Which entries are on.
    opt : optimizer
        See `gradient_momentum`.

    Raises
    ------
    ArgumentError
        If the optimizer has no momentum for a weight.

    References
    ----------
    .. [1] Dettmers, Zettlemoyer: Sparse Networks from Scratch, 2019, arXiv 1907.04840, section 3.2.

    Differs from the paper: weights without an edge count as 0, and if all momentum is 0 the shares are equal.

    Examples
    --------
    >>> p = [torch.nn.Parameter(torch.ones(2)) for _ in "ab"]
    >>> opt = torch.optim.SGD(p, lr=0.1, momentum=0.9)
    >>> (3 * p[0] + p[1]).sum().backward()
    >>> opt.step()
    >>> momentum_redistribution(p, [torch.ones(2) > 0] * 2, opt)
    [0.75, 0.25]
    """
    means = []
    for p, mask in zip(params, masks, strict=True):
        momentum = gradient_momentum(p, opt)[mask.bool()]
        means.append(float(momentum.double().mean()) if momentum.numel() else 0.0)
    total = sum(means)
    return [mean / total for mean in means] if total else [1 / len(means)] * len(means)


# -- presets ----------------------------------------------------------------------------------------------------------

SET_presets: dict[str, Any] = {
    "keep_score_f": weight_magnitude, "grow_score_f": random_score, "redistribute_f": None,
    "initial_drop_grow_pct": 0.3, "stop_pct": 1.0,
}  # fmt: skip
"""SET: drop the smallest weights, grow at random; the share stays."""

SNFS_presets: dict[str, Any] = {
    "keep_score_f": weight_magnitude, "grow_score_f": gradient_momentum, "redistribute_f": momentum_redistribution,
    "initial_drop_grow_pct": 0.5, "stop_pct": 1.0,
}  # fmt: skip
"""Sparse networks from scratch: grow by momentum, and share out between weights by momentum."""

RigL_presets: dict[str, Any] = {
    "keep_score_f": weight_magnitude, "grow_score_f": gradient_magnitude, "redistribute_f": None,
    "initial_drop_grow_pct": 0.3, "stop_pct": 0.75,
}  # fmt: skip
"""RigL: grow by the gradient's magnitude, until three quarters of training."""
