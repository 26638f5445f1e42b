"""Learned masks on frozen weights: supermasks, edge-popup and arbitrarily shifted log parametrization.

Each is a parametrization (`torch.nn.utils.parametrize`) of a weight: it multiplies the weight, which is not trained,
by a mask that is computed from scores, which are. While a module trains, masks are drawn; in eval mode they are fixed.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.sparse.randomness import Seed, root_seed, torch_stream

__all__ = [
    "ASLPMask",
    "BernoulliMask",
    "EdgePopupMask",
    "LearnedMask",
    "add_masks",
    "learned_masks",
    "mask_density",
    "mask_optimizer",
    "prune_masked",
    "signed_constant_",
]

Strategy = Literal["ASLP", "supermask", "edge-popup"]
MASKABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


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
        mask = self.drawn() if self.training else self.kept().to(weight.dtype)
        masked = weight * mask
        return masked * self.rescale(mask) if self.weight_rescale else masked


class BernoulliMask(LearnedMask):
    """A supermask [1]_: a weight is on with probability sigmoid(score), with the gradient of the probability.

    In eval mode weights of probability >= 1/2 are on. Weight rescale multiplies by weights over weights that are on.

    References
    ----------
    .. [1] Zhou, Lan, Liu, Yosinski: Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, NeurIPS 2019,
       arXiv 1905.01067, section 5.

    Differs from the paper: it averages the accuracy of 10 drawn masks; here evaluation draws nothing.

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


def _masked_weights(model: nn.Module) -> Iterator[tuple[nn.Module, LearnedMask]]:
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            for part in module.parametrizations.weight:  # type: ignore[union-attr]
                if isinstance(part, LearnedMask):
                    yield module, part


def learned_masks(model: nn.Module) -> list[LearnedMask]:
    """Return the learned masks of a model, in the order of its modules.

    Examples
    --------
    >>> len(learned_masks(add_masks(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))))
    2
    """
    return [mask for _, mask in _masked_weights(model)]


@torch.no_grad()
def signed_constant_(weight: Tensor) -> Tensor:
    """Return a weight that became sign * standard deviation, in place; zeros count as positive.

    Raises
    ------
    ArgumentError
        If it has fewer than two entries.

    Examples
    --------
    >>> w = signed_constant_(torch.tensor([-1.0, 0.5, 3.0]))
    >>> w.sign().tolist(), w.abs().unique().numel()
    ([-1.0, 1.0, 1.0], 1)
    """
    if weight.numel() < 2:
        raise ArgumentError(f"weight: expected at least two entries for a standard deviation, got {weight.numel()}")
    size = weight.float().std().to(weight.dtype)
    return weight.copy_(torch.where(weight < 0, -size, size))


def add_masks(
    model: nn.Module,
    strategy: Strategy = "ASLP",
    *,
    weight_rescale: bool = False,
    signed_constant: bool = False,
    init_value: float = 0.0,
    sparsity: float = 0.5,
    temperature: float = 1.0,
    seed: Seed = None,
) -> nn.Module:
    """Return `model`, whose weights are frozen and have learned masks from now on; it is changed in place.

    Parameters
    ----------
    model : nn.Module
        Every Linear and Conv1d-3d in it, at any depth, takes a mask; its weight and bias take no gradients any more.
    strategy : {"ASLP", "supermask", "edge-popup"}
        `ASLPMask`, `BernoulliMask` or `EdgePopupMask`. Edge-popup draws the weights anew, Kaiming normal by fan-in.
    weight_rescale : bool
        Make up for the weights that are off; see the strategy's class.
    signed_constant : bool
        Every weight is first set to its sign times the standard deviation of its layer.
    init_value : float
        Scores at the start, but for edge-popup, whose scores are drawn.
    sparsity : float
        Of edge-popup: share of weights that are off, in [0, 1).
    temperature : float
        Of ASLP's Gumbel-softmax, > 0.
    seed : int, Generator or None
        For weights and scores of edge-popup. Masks are drawn from torch's global generator, like dropout.

    Raises
    ------
    DtypeError
        If `model` is no nn.Module.
    ArgumentError
        If an option is not valid, there is no weight to mask, or a weight is computed already.

    Examples
    --------
    >>> model = add_masks(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), "edge-popup", sparsity=0.5, seed=0)
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['0.parametrizations.weight.0.scores', '1.parametrizations.weight.0.scores']
    >>> mask_density(model)
    0.5
    """
    if not isinstance(model, nn.Module):
        raise DtypeError(f"model: expected an nn.Module, got {type(model).__name__}")
    if strategy not in get_args(Strategy):
        raise ArgumentError(f"strategy: expected one of {get_args(Strategy)}, got {strategy!r}")
    if not math.isfinite(init_value):
        raise ArgumentError(f"init_value: expected a finite number, got {init_value}")
    modules = [module for module in model.modules() if isinstance(module, MASKABLE)]
    if not modules:
        raise ArgumentError(f"model: expected Linear or convolutional modules, got {type(model).__name__} without any")
    computed = [module for module in modules if not isinstance(module._parameters.get("weight"), nn.Parameter)]
    if computed:
        raise ArgumentError(
            f"model: expected plain weights, got a {type(computed[0]).__name__} whose weight is computed; "
            "remove its parametrization first"
        )
    # Made before anything is changed, so that a wrong option leaves the model as it was.
    options = {"sparsity": sparsity} if strategy == "edge-popup" else {"temperature": temperature}
    kind = {"ASLP": ASLPMask, "supermask": BernoulliMask, "edge-popup": EdgePopupMask}[strategy]
    options = {} if strategy == "supermask" else options
    masks = [kind(torch.full_like(m.weight.detach(), init_value), weight_rescale, **options) for m in modules]
    root = root_seed(seed)
    for path, (module, mask) in enumerate(zip(modules, masks, strict=True)):
        module.requires_grad_(False)
        if strategy == "edge-popup":
            _draw(module.weight, mask.scores, torch_stream(root, path))
        if signed_constant:
            signed_constant_(module.weight)
        parametrize.register_parametrization(module, "weight", mask)
        mask.train(module.training)
    return model


@torch.no_grad()
def _draw(weight: Tensor, scores: Tensor, generator: torch.Generator) -> None:
    """Draw weights, N(0, 2 / fan_in), and scores, U(-1, 1) / sqrt(fan_in), of edge-popup."""
    fan_in = math.prod(weight.shape[1:])
    weight.copy_(torch.randn(weight.shape, generator=generator) * math.sqrt(2 / fan_in))
    scores.copy_((torch.rand(scores.shape, generator=generator) * 2 - 1) / math.sqrt(fan_in))


def _checked_masks(model: nn.Module) -> list[LearnedMask]:
    masks = learned_masks(model)
    if not masks:
        raise ArgumentError(
            f"model: expected learned masks in it, got {type(model).__name__} without any; use add_masks"
        )
    return masks


def mask_density(model: nn.Module) -> float:
    """Return the share of weights that are on in eval mode, of all that have a learned mask, in [0, 1].

    Raises
    ------
    ArgumentError
        If there is no learned mask.

    Examples
    --------
    >>> mask_density(add_masks(nn.Linear(4, 3), "supermask", init_value=-1.0))
    0.0
    """
    kept = [mask.kept() for mask in _checked_masks(model)]
    return sum(int(mask.sum()) for mask in kept) / sum(int(mask.numel()) for mask in kept)


def mask_optimizer(
    model: nn.Module, lr: float = 50.0, momentum: float = 0.9, weight_decay: float = 0.0, scale_lr: float = 1e-3
) -> torch.optim.SGD:
    """Return plain SGD for the scores of a model, and for learned scales with a rate of their own.

    Raises
    ------
    ArgumentError
        If there is no learned mask.

    Examples
    --------
    >>> model = add_masks(nn.Linear(4, 3), "ASLP", weight_rescale=True)
    >>> [(len(group["params"]), group["lr"]) for group in mask_optimizer(model).param_groups]
    [(1, 50.0), (1, 0.001)]
    """
    masks = _checked_masks(model)
    groups = [{"params": [mask.scores for mask in masks], "lr": lr, "weight_decay": weight_decay}]
    scales = [mask.scale for mask in masks if isinstance(mask, ASLPMask) and mask.scale is not None]
    if scales:
        groups.append({"params": scales, "lr": scale_lr, "weight_decay": 0.0})
    return torch.optim.SGD(groups, lr=lr, momentum=momentum)


def prune_masked(model: nn.Module) -> nn.Module:
    """Return `model` after its learned masks became zeros of plain weights, in place; it computes what eval mode did.

    Weights and biases stay frozen; `model.requires_grad_()` lets them train. Keys of `state_dict` are those of before
    the masks.

    Raises
    ------
    ArgumentError
        If there is no learned mask.

    Examples
    --------
    >>> model = add_masks(nn.Linear(4, 3), "edge-popup", sparsity=0.75, seed=0)
    >>> int((prune_masked(model).weight != 0).sum())
    3
    """
    _checked_masks(model)
    for module, mask in list(_masked_weights(model)):
        mask.eval()
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        weight = module.get_parameter("weight")
        weight.requires_grad_(False)
        # First again, as it was, for whoever zips parameters.
        rest = {name: value for name, value in module._parameters.items() if name != "weight"}
        module._parameters.clear()
        module._parameters.update({"weight": weight, **rest})
    return model
