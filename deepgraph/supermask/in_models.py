"""Learned masks in whole models: adding, drawing, training and freezing them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.sparse.randomness import Seed, root_seed, torch_stream
from deepgraph.supermask.masks import ASLPMask, BernoulliMask, EdgePopupMask, LearnedMask

__all__ = [
    "add_masks",
    "learned_masks",
    "mask_density",
    "mask_optimizer",
    "mean_over_masks",
    "prune_masked",
    "sampled_masks",
    "signed_constant_",
]

Strategy = Literal["ASLP", "supermask", "edge-popup"]
MASKABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


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
    if not isinstance(init_value, (int, float)) or not math.isfinite(init_value):
        raise ArgumentError(f"init_value: expected a finite number, got {init_value!r}")
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


@contextmanager
def sampled_masks(model: nn.Module, seed: Seed = None) -> Iterator[None]:
    """Draw masks in eval mode too, a new one at every forward pass, while the block runs.

    Parameters
    ----------
    model : nn.Module
    seed : int, Generator or None
        A seed leaves torch's global generator as it was; None draws from it.

    Raises
    ------
    ArgumentError
        If there is no learned mask.

    Examples
    --------
    >>> model = add_masks(nn.Linear(50, 1), "supermask", seed=0).eval()
    >>> with sampled_masks(model, seed=0):
    ...     bool(torch.equal(model(torch.ones(1, 50)), model(torch.ones(1, 50))))
    False
    """
    masks = _checked_masks(model)
    before = [mask.sampling for mask in masks]
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices, enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(root_seed(seed))
        try:
            for mask in masks:
                mask.sampling = True
            yield
        finally:
            for mask, one in zip(masks, before, strict=True):
                mask.sampling = one


@torch.no_grad()
def mean_over_masks(model: nn.Module, *inputs: Tensor, samples: int = 10, seed: Seed = None) -> Tensor:
    """Return the mean output of a model over `samples` drawn masks.

    Raises
    ------
    ArgumentError
        If there is no learned mask, or `samples` is no integer >= 1.

    Examples
    --------
    >>> model = add_masks(nn.Linear(4, 3), "edge-popup", sparsity=0.5, seed=0).eval()
    >>> x = torch.ones(1, 4)
    >>> bool(torch.allclose(mean_over_masks(model, x, samples=3), model(x)))
    True
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ArgumentError(f"samples: expected an integer >= 1, got {samples!r}")
    with sampled_masks(model, seed):
        outputs = [model(*inputs) for _ in range(samples)]
    return torch.stack(outputs).mean(0)


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
