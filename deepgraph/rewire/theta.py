"""Deep rewiring of a list of parameters: every entry theta is a connection, active where theta >= 0.

`convert_to_deep_rewireable` writes a model so. To rewire the edge sets of a model, use `DEEPR(model, ...)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from deepgraph.errors import ArgumentError, CapacityError
from deepgraph.sparse.randomness import Seed, root_seed

__all__ = ["SoftDEEPRWrapper", "ThetaDEEPR", "ThetaSoftDEEPR", "is_parameters"]

AUTHORS_NOISE = 1e-5
"""Noise per unit of learning rate in the authors' code, where no temperature is given."""

REFLECT = 3.0
"""Dormant thetas of soft-DEEPR stay above -3 l1 unless another bound is given."""


def is_parameters(given: Any) -> bool:
    """Return whether something is an iterable of parameters or of groups, and so no model, or no attempt at one.

    Examples
    --------
    >>> is_parameters([torch.zeros(1)]), is_parameters(torch.nn.Linear(1, 1)), is_parameters("model")
    (True, False, False)
    """
    if isinstance(given, (torch.nn.Module, str, bytes, Tensor)) or not isinstance(given, Iterable):
        return False
    return not isinstance(given, Sequence) or all(isinstance(one, (Tensor, tuple, Mapping)) for one in given)


class _ThetaOptimizer(torch.optim.Optimizer):
    """What the optimizers share: checks, noise, and a generator that is saved and restored."""

    def __init__(self, params: Any, defaults: dict[str, Any], seed: Seed) -> None:
        for name in ("lr", "l1", "temp"):
            value = defaults.get(name)
            if value is not None and not 0 <= value < math.inf:
                raise ArgumentError(f"{name}: expected a finite number >= 0, got {value}")
        low = defaults.get("min_weight")
        if low is not None and not -math.inf < low <= 0:
            raise ArgumentError(f"min_weight: expected a finite number <= 0, got {low}")
        self.generator = torch.Generator().manual_seed(root_seed(seed))
        super().__init__(params, defaults)

    def _noise(self, theta: Tensor, group: dict[str, Any]) -> Tensor | float:
        lr, temp = float(group["lr"]), group["temp"]
        scale = lr * AUTHORS_NOISE if temp is None else math.sqrt(2 * lr * temp)
        if scale == 0:
            return 0.0
        drawn = torch.randn(theta.shape, generator=self.generator, dtype=torch.float32)
        return drawn.mul_(scale).to(theta)

    def _gradient_steps(self) -> Iterable[tuple[dict[str, Any], Tensor]]:
        for group in self.param_groups:
            for theta in group["params"]:
                if theta.grad is not None:
                    yield group, theta

    @staticmethod
    def _loss(closure: Callable[[], Any] | None) -> Any:
        if closure is None:
            return None
        with torch.enable_grad():
            return closure()

    def __getstate__(self) -> dict[str, Any]:
        # The base class would keep groups and state only.
        return {name: entry for name, entry in self.__dict__.items() if not name.endswith("_hooks")}

    def state_dict(self) -> dict[str, Any]:
        """Return groups and state, and the state of the generator."""
        return {**super().state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        rest = {name: entry for name, entry in state_dict.items() if name != "generator"}
        super().load_state_dict(rest)
        self.generator.set_state(state_dict["generator"].cpu())


class ThetaDEEPR(_ThetaOptimizer):
    """Deep rewiring of parameters: exactly `nc` entries are active after every step.

    Parameters
    ----------
    params : iterable of Parameter, or of groups
        Thetas; see `convert_to_deep_rewireable`.
    nc : int
        Number of active connections, over all parameters together.
    lr, l1 : float
        Learning rate and pull towards 0, >= 0.
    reset_val : float
        theta of a connection that is switched on, >= 0.
    temp : float, optional
        T of the noise sqrt(2 lr T), >= 0; default noise of standard deviation lr * 1e-5, as in the authors' code.
    seed : int, Generator or None

    Attributes
    ----------
    edited : bool
        Whether the last step switched a connection on or off.

    Raises
    ------
    CapacityError
        If `nc` is negative or more than there are entries.
    ArgumentError
        If a number is out of range.

    Notes
    -----
    Algorithm 1 of [1]_: active thetas move by -lr grad - lr l1 + noise; those that fall below 0 are off, and as many as
    `nc` lacks are drawn uniformly, without replacement, from all that are off. Where more than `nc` are active, which
    only the start can bring, the smallest are switched off. O(parameters) a step, no loop that waits for luck.

    References
    ----------
    .. [1] Bellec, Kappel, Maass, Legenstein: Deep rewiring: training very sparse deep networks, ICLR 2018,
       arXiv 1711.05136.

    Differs from the paper: nothing with `temp` given.

    Examples
    --------
    >>> theta = torch.nn.Parameter(torch.tensor([0.5, -0.1, 0.2, -1.0]))
    >>> optimizer = ThetaDEEPR([theta], nc=2, lr=0.1, seed=0)
    >>> theta.grad = torch.tensor([9.0, 0.0, 0.0, 0.0])
    >>> optimizer.step()
    >>> int((theta >= 0).sum()), bool(theta[0] >= 0), optimizer.edited
    (2, False, True)
    """

    def __init__(
        self,
        params: Any,
        nc: int,
        lr: float = 0.05,
        l1: float = 1e-4,
        reset_val: float = 0.0,
        temp: float | None = None,
        *,
        seed: Seed = None,
    ) -> None:
        if not 0 <= reset_val < math.inf:
            raise ArgumentError(f"reset_val: expected a finite number >= 0, got {reset_val}")
        super().__init__(params, {"lr": lr, "l1": l1, "temp": temp}, seed)
        total = sum(theta.numel() for theta in self._thetas())
        if isinstance(nc, bool) or not isinstance(nc, int) or not 0 <= nc <= total:
            raise CapacityError(f"nc: expected an integer in 0..{total}, the number of entries, got {nc!r}")
        self.nc, self.reset_val, self.edited = nc, float(reset_val), False

    def _thetas(self) -> list[Tensor]:
        return [theta for group in self.param_groups for theta in group["params"]]

    def budget(self, step: int) -> int:
        """Return the number of active connections, the same at every step."""
        return self.nc

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move active connections, replace those that fell below 0, and return the closure's loss if one is given."""
        loss = self._loss(closure)
        before = [theta >= 0 for theta in self._thetas()]
        for group, theta in self._gradient_steps():
            if theta.grad is None:
                continue
            moved = theta - group["lr"] * (theta.grad + group["l1"]) + self._noise(theta, group)
            theta.copy_(torch.where(theta >= 0, moved, theta))
        self._settle()
        self.edited = any(not torch.equal(old, theta >= 0) for old, theta in zip(before, self._thetas(), strict=True))
        return loss

    def _settle(self) -> None:
        """Switch connections on or off until exactly `nc` are active."""
        thetas = self._thetas()
        active = [theta >= 0 for theta in thetas]
        surplus = sum(int(mask.sum()) for mask in active) - self.nc
        if surplus > 0:
            values = torch.cat([theta[mask].double().cpu() for theta, mask in zip(thetas, active, strict=True)])
            chosen = torch.argsort(values, stable=True)[:surplus]
            self._put(active, chosen, lambda theta: -theta.abs().clamp_min(torch.finfo(theta.dtype).smallest_normal))
        elif surplus < 0:
            off = [~mask for mask in active]
            chosen = torch.randperm(sum(int(mask.sum()) for mask in off), generator=self.generator)[:-surplus]
            self._put(off, chosen, lambda theta: torch.full_like(theta, self.reset_val))

    def _put(self, masks: list[Tensor], chosen: Tensor, value: Callable[[Tensor], Tensor]) -> None:
        """Write new thetas at entries given by their numbers (K,) among the marked ones of all parameters."""
        chosen, start = chosen.sort().values, 0
        for theta, mask in zip(self._thetas(), masks, strict=True):
            places = mask.reshape(-1).nonzero().squeeze(1)
            low, high = torch.searchsorted(chosen, torch.tensor([start, start + len(places)])).tolist()
            if low < high:
                at = torch.unravel_index(places[(chosen[low:high] - start).to(places.device)], theta.shape)
                theta[at] = value(theta[at])
            start += len(places)


def _soft_update(
    theta: Tensor, moved: Tensor, was_active: Tensor, noise: Tensor | float, group: dict[str, Any]
) -> None:
    """Write thetas: active ones moved and pulled to 0, dormant ones by noise alone, none below the bound."""
    lr, l1 = float(group["lr"]), float(group["l1"])
    low = -REFLECT * l1 if group["min_weight"] is None else float(group["min_weight"])
    theta.copy_((torch.where(was_active, moved - lr * l1, theta) + noise).clamp_min(low))


class ThetaSoftDEEPR(_ThetaOptimizer):
    """Soft deep rewiring of parameters: all connections walk, dormant ones by noise only, so their number varies.

    Parameters
    ----------
    params : iterable of Parameter, or of groups
        Thetas; see `convert_to_deep_rewireable`.
    lr, l1 : float
        Learning rate and pull of active connections towards 0, >= 0.
    temp : float, optional
        T of the noise sqrt(2 lr T), >= 0; default noise of standard deviation lr * 1e-5, as in the authors' code.
    min_weight : float, optional
        Lower bound of dormant thetas, <= 0; default -3 l1.
    seed : int, Generator or None

    Raises
    ------
    ArgumentError
        If a number is out of range.

    Notes
    -----
    Algorithm 2 of [1]_.

    References
    ----------
    .. [1] Bellec, Kappel, Maass, Legenstein: Deep rewiring: training very sparse deep networks, ICLR 2018,
       arXiv 1711.05136.

    Differs from the paper: nothing with `temp` and `min_weight` given.

    Examples
    --------
    >>> theta = torch.nn.Parameter(torch.tensor([0.5, -1e-6]))
    >>> optimizer = ThetaSoftDEEPR([theta], lr=0.1, l1=1e-5, temp=0.0)
    >>> theta.grad = torch.tensor([9.0, 0.0])
    >>> optimizer.step()
    >>> theta.tolist() == torch.tensor([-3e-5, -1e-6]).tolist()
    True
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.05,
        l1: float = 1e-5,
        temp: float | None = None,
        min_weight: float | None = None,
        *,
        seed: Seed = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "l1": l1, "temp": temp, "min_weight": min_weight}, seed)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all connections, and return the closure's loss if one is given."""
        loss = self._loss(closure)
        for group, theta in self._gradient_steps():
            if theta.grad is not None:
                moved = theta - group["lr"] * theta.grad
                _soft_update(theta, moved, theta >= 0, self._noise(theta, group), group)
        return loss


class SoftDEEPRWrapper(_ThetaOptimizer):
    """Soft deep rewiring around any optimizer: that one moves active connections, this one adds pull, noise and bound.

    Parameters
    ----------
    params : iterable of Parameter, or of groups
    base_optim_class : type
        A torch optimizer.
    l1, temp, min_weight : float
        As for `ThetaSoftDEEPR`; the learning rate is that of the optimizer's groups.
    seed : int, Generator or None
    **optim
        Arguments of `base_optim_class`.

    Attributes
    ----------
    base : torch.optim.Optimizer
        Shares groups and state with this one.

    Raises
    ------
    ArgumentError
        If a number is out of range, or an optimizer has no learning rate.

    Notes
    -----
    What the optimizer's momentum or weight decay does to dormant connections is taken back: they move by noise only.

    Examples
    --------
    >>> theta = torch.nn.Parameter(torch.tensor([0.5, -1e-6]))
    >>> optimizer = SoftDEEPRWrapper([theta], torch.optim.Adam, l1=1e-5, temp=0.0, lr=0.1)
    >>> theta.grad = torch.tensor([1.0, 0.0])
    >>> optimizer.step()
    >>> round(theta[0].item(), 4)
    0.4
    """

    def __init__(
        self,
        params: Any,
        base_optim_class: type[torch.optim.Optimizer],
        l1: float = 1e-5,
        temp: float | None = None,
        min_weight: float | None = None,
        *,
        seed: Seed = None,
        **optim: Any,
    ) -> None:
        self.base = base_optim_class(list(params), **optim)
        if any("lr" not in group for group in self.base.param_groups):
            raise ArgumentError(f"base_optim_class: expected one with a learning rate, got {base_optim_class.__name__}")
        defaults = {"lr": 0.0, "l1": l1, "temp": temp, "min_weight": min_weight}
        super().__init__(self.base.param_groups, defaults, seed)
        self._share()

    def _share(self) -> None:
        # Schedulers change the groups of this one, and the optimizer has to see it.
        self.base.param_groups, self.base.state = self.param_groups, self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the optimizer, move all connections, and return the closure's loss if one is given."""
        loss = self._loss(closure)
        before = [(group, theta, theta.clone()) for group, theta in self._gradient_steps()]
        self.base.step()
        for group, theta, old in before:
            moved = theta.clone()
            theta.copy_(old)
            _soft_update(theta, moved, old >= 0, self._noise(theta, group), group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self._share()
