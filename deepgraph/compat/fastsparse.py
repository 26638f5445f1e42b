"""fastsparse's names: distributions of sparsity, scores, presets, `sparsify_model`, initialisation, operation counts.

They speak of sparsity, the share of weights that are off; deepgraph itself speaks of density.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from deepgraph.compat.flops import FlopsCounter, count_flops
from deepgraph.compat.sparsity import (
    RigL_presets,
    SET_presets,
    SNFS_presets,
    checked_sparsity,
    erdos_renyi_sparsity,
    first_layer_dense_uniform,
    gradient_magnitude,
    gradient_momentum,
    momentum_redistribution,
    random_score,
    uniform_sparsity,
    weight_magnitude,
)
from deepgraph.errors import ArgumentError, ShapeError
from deepgraph.sparse.masked_weight import GradientMask, LoadedHook, LoadHook, SaveHook, WeightEdges
from deepgraph.sparse.randomness import Seed
from deepgraph.sparse.sparsify import Slot, sparsify, weight_slots
from deepgraph.sparse.values import HELD

__all__ = [
    "FlopsCounter",
    "RigL_kwargs",
    "RigL_presets",
    "SET_kwargs",
    "SET_presets",
    "SNFS_kwargs",
    "SNFS_presets",
    "SparseHook",
    "count_flops",
    "erdos_renyi",
    "erdos_renyi_sparsity",
    "first_layer_dense_uniform",
    "gradient_magnitude",
    "gradient_momentum",
    "init_kaiming_normal_sparse_",
    "momentum_redistribution",
    "random_score",
    "sparsify_model",
    "uniform_sparsity",
    "weight_magnitude",
]

Sparsities = Callable[[Sequence[Tensor], float], Sequence[float]]

SET_kwargs, SNFS_kwargs, RigL_kwargs = SET_presets, SNFS_presets, RigL_presets
erdos_renyi = erdos_renyi_sparsity


class SparseHook:
    """What keeps the weights of one module sparse; `remove()` lets them train dense from there on.

    Parameters
    ----------
    module : nn.Module
        One that `sparsify_model` made sparse.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def remove(self) -> None:
        """Stop enforcing the mask; done once, it has no effect afterwards."""
        held = self.module.__dict__.pop(HELD, None)
        for values in held.weights.values() if held is not None else ():
            hooks = values[0].parameter._backward_hooks or {}
            for key in [key for key, hook in hooks.items() if isinstance(hook, GradientMask)]:
                del hooks[key]
        kinds = (SaveHook, LoadHook, LoadedHook)
        registries: tuple[Any, ...] = (
            self.module._state_dict_hooks,
            self.module._load_state_dict_pre_hooks,
            self.module._load_state_dict_post_hooks,
        )
        for registry in registries:
            for key, hook in list(registry.items()):
                if isinstance(getattr(hook, "hook", hook), kinds):
                    del registry[key]


def sparsify_model(
    model: nn.Module,
    model_sparsity: float | None = None,
    sparse_f: Sparsities | None = None,
    sparse_init_mode: Literal["fan_in", "fan_out"] | None = None,
    enforce_mask: bool | None = None,
    *,
    sparsity: float | None = None,
    sparse_init_f: Sparsities | None = None,
    enforce_masks: bool | None = None,
    seed: Seed = None,
) -> list[SparseHook]:
    """Return hooks after the weights of a model became sparse at random, in place.

    Parameters
    ----------
    model : nn.Module
        Weights of Linear, convolutions, attention and recurrent layers are taken; see `deepgraph.sparse.sparsify`.
    model_sparsity, sparsity : float
        Share of weights that are off, in [0, 1); two names of one thing.
    sparse_f, sparse_init_f : callable
        Maps (weights, model sparsity) to a sparsity for each; default `uniform_sparsity`. Weights of sparsity 0 stay
        dense.
    sparse_init_mode : {"fan_in", "fan_out"}, optional
        Draw the weights anew with `init_kaiming_normal_sparse_`; by default those that are on keep their values.
    enforce_mask, enforce_masks : bool
        Whether weights that are off stay so while the model trains; True unless given.
    seed : int, Generator or None

    Returns
    -------
    hooks : list of SparseHook
        One a module; empty without `enforce_mask`.

    Raises
    ------
    ArgumentError
        If no sparsity is given, or a number is not in [0, 1), or both names of one thing are given.
    ShapeError
        If the function returns another number of sparsities.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 5))
    >>> hooks = sparsify_model(model, 0.9, sparse_f=first_layer_dense_uniform, seed=0)
    >>> [int((layer.weight != 0).sum()) for layer in model[::2]], len(hooks)
    ([200, 5], 1)
    """
    wanted = _one("model_sparsity", model_sparsity, "sparsity", sparsity)
    if wanted is None:
        raise ArgumentError("model_sparsity: expected a number in [0, 1), got None")
    choose: Sparsities = _one("sparse_f", sparse_f, "sparse_init_f", sparse_init_f) or uniform_sparsity
    enforced = _one("enforce_mask", enforce_mask, "enforce_masks", enforce_masks)
    if sparse_init_mode not in (None, "fan_in", "fan_out"):
        raise ArgumentError(f"sparse_init_mode: expected 'fan_in', 'fan_out' or None, got {sparse_init_mode!r}")
    slots = weight_slots(model)
    chosen = list(choose([_part(slot) for slot in slots], checked_sparsity(wanted)))
    if len(chosen) != len(slots):
        raise ShapeError(f"sparse_f: expected a sparsity for each of {len(slots)} weights, got {len(chosen)}")
    density = {slot.name: 1 - checked_sparsity(s) for slot, s in zip(slots, chosen, strict=True) if s > 0}
    if density:
        sparsify(model, density, seed=seed)
    if sparse_init_mode is not None:
        _draw_anew(model, sparse_init_mode)
    hooks = [SparseHook(module) for module in model.modules() if HELD in module.__dict__]
    if enforced is None or enforced:
        return hooks
    for hook in hooks:
        hook.remove()
    return []


def _draw_anew(model: nn.Module, mode: Literal["fan_in", "fan_out"]) -> None:
    for module in model.modules():
        held: WeightEdges | None = module.__dict__.get(HELD)
        for parts in held.weights.values() if held is not None else ():
            mask = torch.stack([one.mask() for one in parts]).any(0)
            # Transposed convolutions keep (in, out).
            turned = isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
            own: Literal["fan_in", "fan_out"] = mode if not turned else "fan_out" if mode == "fan_in" else "fan_in"
            init_kaiming_normal_sparse_(parts[0].parameter.detach(), mask, mode=own)


def _one(name: str, value: Any, alias: str, other: Any) -> Any:
    if value is not None and other is not None:
        raise ArgumentError(f"{name}: expected one of {name} and {alias}, got both")
    return other if value is None else value


def _part(slot: Slot) -> Tensor:
    """Return the weight of a slot in its own shape, for a function that distributes sparsity."""
    whole = slot.parameter.detach()
    if tuple(whole.shape) == tuple(slot.shape):
        return whole
    return whole.reshape(-1)[torch.from_numpy(slot.addresses.row[:, None] + slot.addresses.column)].view(slot.shape)


@torch.no_grad()
def init_kaiming_normal_sparse_(
    weight: Tensor,
    mask: Tensor | None = None,
    a: float = 0.0,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    nonlinearity: Any = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return a weight drawn anew, in place: N(0, gain^2 / fan), with the fan of the entries that are on; others 0.

    Parameters
    ----------
    weight : (out, in, *kernel) Tensor
    mask : Tensor of the same shape, optional
        Which entries are on; by default those that are not 0.
    a, nonlinearity
        As in `torch.nn.init.kaiming_normal_`.
    mode : {"fan_in", "fan_out"}
        Fan of each output: its entries that are on; or of each input: its entries that are on. Kernel entries count.
    generator : torch.Generator, optional

    Raises
    ------
    ArgumentError
        If `mode` is unknown.
    ShapeError
        If there are fewer than two dimensions, or the mask has another shape.

    References
    ----------
    .. [1] Evci et al. 2022, "Gradient Flow in Sparse Neural Networks and How Lottery Tickets Win", section 3.1.

    Differs from the paper: nothing known.

    Examples
    --------
    >>> w = init_kaiming_normal_sparse_(torch.ones(2000, 30), torch.rand(2000, 30) < 0.2)
    >>> bool(0.9 < (torch.randn(500, 30) @ w.T).std() / 2**0.5 < 1.1)
    True
    """
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    if weight.dim() < 2:
        raise ShapeError(f"weight: expected at least two dimensions, got shape {tuple(weight.shape)}")
    on = weight != 0 if mask is None else mask.bool()
    if on.shape != weight.shape:
        raise ShapeError(f"mask: expected shape {tuple(weight.shape)} as the weight's, got {tuple(on.shape)}")
    axis = 0 if mode == "fan_in" else 1
    others = [d for d in range(weight.dim()) if d != axis]
    fan = on.sum(others, keepdim=True).clamp_min(1)
    scale = nn.init.calculate_gain(nonlinearity, a) / fan.double().sqrt()
    drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
    return weight.copy_(drawn.to(weight.device) * scale * on)
