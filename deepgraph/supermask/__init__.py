"""Learned masks on frozen weights: supermasks, edge-popup and arbitrarily shifted log parametrization.

Each is a parametrization (`torch.nn.utils.parametrize`) of a weight: it multiplies the weight, which is not trained,
by a mask that is computed from scores, which are. While a module trains, masks are drawn; in eval mode they are fixed,
unless `sampled_masks` has them drawn there too.
"""

from __future__ import annotations

from deepgraph.supermask.in_models import (
    add_masks,
    learned_masks,
    mask_density,
    mask_optimizer,
    mean_over_masks,
    prune_masked,
    sampled_masks,
    signed_constant_,
)
from deepgraph.supermask.masks import ASLPMask, BernoulliMask, EdgePopupMask, LearnedMask

__all__ = [
    "ASLPMask",
    "BernoulliMask",
    "EdgePopupMask",
    "LearnedMask",
    "add_masks",
    "learned_masks",
    "mask_density",
    "mask_optimizer",
    "mean_over_masks",
    "prune_masked",
    "sampled_masks",
    "signed_constant_",
]
