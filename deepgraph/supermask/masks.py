"""The parametrizations themselves: each computes a mask from scores and multiplies a weight by it."""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError

__all__ = ["ASLPMask", "BernoulliMask", "EdgePopupMask", "LearnedMask"]


class LearnedMask(nn.Module, abc.ABC):
    """A parametrization weight -> weight * mask, whose mask comes from scores.

    Parameters
    ----------
    scores : Tensor
        Of the weight's shape, at the start.
    weight_rescale : bool
        Whether the mask is scaled to make up for the weights that are off, as the strategy says.
    """

    def __init__(self, scores: Tensor, weight_rescale: bool = False) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)
        self.weight_rescale = bool(weight_rescale)
        self.sampling = False
        """Whether masks are drawn in eval mode too; see `sampled_masks`."""

    @abc.abstractmethod
    def kept(self) -> Tensor:
        """Return which weights are on in eval mode: bool, of the weight's shape."""

    @abc.abstractmethod
    def drawn(self) -> Tensor:
        """Return the mask of one forward pass in training mode, with a gradient for the scores."""

    def rescale(self, mask: Tensor) -> Tensor | float:
        """Return what the masked weight is multiplied by."""
        return 1.0

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight that counts."""
        mask = self.drawn() if self.training or self.sampling else self.kept().to(weight.dtype)
        masked = weight * mask
        return masked * self.rescale(mask) if self.weight_rescale else masked


class BernoulliMask(LearnedMask):
    """A supermask [1]_: a weight is on with probability sigmoid(score), with the gradient of the probability.

    In eval mode weights of probability >= 1/2 are on. Weight rescale multiplies by weights over weights that are on.

    References
    ----------
    .. [1] Zhou, Lan, Liu, Yosinski: Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019,
       arXiv 1905.01067, section 5.

    Differs from the paper: it averages the accuracy of 10 drawn masks; here evaluation draws nothing, unless it is done
    within `sampled_masks` or by `mean_over_masks`.

    Examples
    --------
    >>> mask = BernoulliMask(torch.tensor([3.0, -3.0]), weight_rescale=True).eval()
    >>> mask(torch.tensor([1.0, 1.0])).tolist()
    [2.0, 0.0]
    """

    def kept(self) -> Tensor:
        """Return which weights have probability >= 1/2."""
        return self.scores >= 0

    def drawn(self) -> Tensor:
        """Return zeros and ones, with the gradient of the probability."""
        probability = torch.sigmoid(self.scores)
        return torch.bernoulli(probability.detach()) + probability - probability.detach()

    def rescale(self, mask: Tensor) -> Tensor | float:
        """Return weights over weights that are on; a constant for the gradient."""
        return mask.numel() / mask.detach().float().sum().clamp_min(1).to(mask.dtype)


class ASLPMask(LearnedMask):
    """Arbitrarily shifted log parametrization [1]_: a weight is on where its score beats 0, both with Gumbel noise.

    The gradient is that of the Gumbel-softmax. In eval mode weights of score >= 0 are on. Weight rescale multiplies by
    a learned number, `scale`, 1 at the start.

    References
    ----------
    .. [1] Dupont, Alaoui, Sahbi, Lebois: Extracting Effective Subnetworks with Gumbel-Softmax, ICIP 2022,
       arXiv 2202.12986.

    Differs from the paper: nothing known.

    Examples
    --------
    >>> mask = ASLPMask(torch.tensor([0.0, -3.0])).eval()
    >>> mask(torch.tensor([2.0, 2.0])).tolist()
    [2.0, 0.0]
    """

    def __init__(self, scores: Tensor, weight_rescale: bool = False, temperature: float = 1.0) -> None:
        super().__init__(scores, weight_rescale)
        if not 0 < temperature < math.inf:
            raise ArgumentError(f"temperature: expected a finite number > 0, got {temperature}")
        self.temperature = float(temperature)
        self.scale = nn.Parameter(scores.new_ones(())) if weight_rescale else None

    def kept(self) -> Tensor:
        """Return which weights have a score >= 0."""
        return self.scores >= 0

    def drawn(self) -> Tensor:
        """Return zeros and ones, with the gradient of the Gumbel-softmax."""
        # The difference of two Gumbel variables is logistic.
        uniform = torch.rand_like(self.scores, dtype=torch.float32)
        noise = torch.logit(uniform, eps=1e-7).to(self.scores.dtype)
        soft = torch.sigmoid((self.scores + noise) / self.temperature)
        return (soft.detach() > 0.5).to(soft.dtype) + soft - soft.detach()

    def rescale(self, mask: Tensor) -> Tensor | float:
        """Return the learned number."""
        return 1.0 if self.scale is None else self.scale


class EdgePopupMask(LearnedMask):
    """Edge-popup [1]_: the weights of the largest |score| are on, the same number always; gradients pass straight.

    Weight rescale divides by the root of the density, as the paper's scaled initialisation does.

    Parameters
    ----------
    scores : Tensor
    weight_rescale : bool
    sparsity : float
        Share of the weights that are off, in [0, 1); at least one is on.

    References
    ----------
    .. [1] Ramanujan, Wortsman, Kembhavi, Farhadi, Rastegari: What's Hidden in a Randomly Weighted Neural Network?,
       CVPR 2020, arXiv 1911.13299, section 3.

    Differs from the paper: scores are ranked by magnitude, as in the authors' code.

    Examples
    --------
    >>> mask = EdgePopupMask(torch.tensor([0.1, -5.0, 2.0, 0.3]), sparsity=0.5)
    >>> mask(torch.ones(4)).tolist()
    [0.0, 1.0, 1.0, 0.0]
    """

    def __init__(self, scores: Tensor, weight_rescale: bool = False, sparsity: float = 0.5) -> None:
        super().__init__(scores, weight_rescale)
        if not 0 <= sparsity < 1:
            raise ArgumentError(
                f"sparsity: expected a number in [0, 1), the share of weights that are off, got {sparsity}"
            )
        self.sparsity = float(sparsity)

    def kept(self) -> Tensor:
        """Return which weights have the largest |score|."""
        size = self.scores.detach().abs().reshape(-1)
        count = max(1, round((1 - self.sparsity) * size.numel()))
        mask = torch.zeros_like(size, dtype=torch.bool)
        mask[size.topk(count).indices] = True
        return mask.view_as(self.scores)

    def drawn(self) -> Tensor:
        """Return the same mask, with gradient 1 for |score|."""
        size = self.scores.abs()
        return self.kept().to(size.dtype) + size - size.detach()

    def rescale(self, mask: Tensor) -> Tensor | float:
        """Return 1 / sqrt(density)."""
        return 1 / math.sqrt(1 - self.sparsity)
