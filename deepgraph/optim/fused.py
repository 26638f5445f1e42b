"""`SGD`, `Adam`, `AdamW`: torch's optimizers, with one compiled loop over all parameters in place of their update."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepgraph.kernels.plan import has_numba

__all__ = ["SGD", "Adam", "AdamW"]

_TYPES = (nn.Parameter, Tensor)
_DTYPES = (torch.float32, torch.float64)
# Fewer elements than this are not worth a second thread.
_THREAD_ELEMENTS = 500_000


class _Batch:
    """The parameters of one group and one dtype that have gradients, as rows of addresses."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.like = np.empty(0, np.float32 if dtype == torch.float32 else np.float64)
        self.rows: list[list[int]] = []
        self.sizes: list[int] = []
        self.flags: list[Any] = []

    def arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return addresses (P, columns) and sizes (P,)."""
        return np.array(self.rows), np.array(self.sizes)

    def parts(self) -> int:
        """Return how many threads share the elements."""
        return torch.get_num_threads() if sum(self.sizes) >= _THREAD_ELEMENTS else 1


def _plain(tensor: Tensor) -> bool:
    """Return whether the compiled loop can read a tensor: contiguous numbers in memory."""
    return (
        type(tensor) in _TYPES
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in _DTYPES
        and tensor.is_contiguous()
    )


class _Fused(torch.optim.Optimizer, abc.ABC):
    """What the three share: torch's own step where the compiled loop cannot be used, and the loop elsewhere."""

    _torch: type[torch.optim.Optimizer]

    @abc.abstractmethod
    def _columns(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> tuple[list[int], Any]:
        """Return the addresses of a parameter's state, made where there is none, and a flag for the loop."""

    @abc.abstractmethod
    def _rule(self, flags: list[Any], group: dict[str, Any]) -> tuple[Any, NDArray[Any], tuple[Any, ...]]:
        """Return the compiled loop, the flags of its tensors (P,) and the options of the group."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss anew.

        Returns
        -------
        Any
            The closure's loss, None without one.

        Raises
        ------
        RuntimeError
            torch's, where its own step would raise.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if has_numba() and not torch.compiler.is_compiling() and all(map(self._supports, self.param_groups)):
            for group in self.param_groups:
                for batch in self._batches(group).values():
                    self._update(batch, group)
        else:
            _unhooked(self._torch.step)(self)
        return loss

    def _update(self, batch: _Batch, group: dict[str, Any]) -> None:
        """Run the loop over the tensors of a batch, each thread on its share of all of them."""
        tensors, sizes = batch.arrays()
        loop, flags, options = self._rule(batch.flags, group)
        _share(lambda part, parts: loop(tensors, sizes, flags, batch.like, part, parts, *options), batch.parts())

    @staticmethod
    def _supports(group: dict[str, Any]) -> bool:
        plain = not (group.get("capturable") or group["differentiable"] or isinstance(group["lr"], Tensor))
        return plain and all(
            parameter.grad is None or (_plain(parameter) and _plain(parameter.grad)) for parameter in group["params"]
        )

    def _batches(self, group: dict[str, Any]) -> dict[torch.dtype, _Batch]:
        batches: dict[torch.dtype, _Batch] = {}
        for parameter in group["params"]:
            grad = parameter.grad
            if grad is not None:
                batch = batches.get(parameter.dtype)
                if batch is None:
                    batch = batches[parameter.dtype] = _Batch(parameter.dtype)
                columns, flag = self._columns(parameter, grad, group)
                batch.rows.append([parameter.data_ptr(), grad.data_ptr(), *columns])
                batch.sizes.append(parameter.numel())
                batch.flags.append(flag)
        return batches


def _unhooked(step: Any) -> Any:
    # torch wraps the steps of its classes to run hooks, which have run already when a subclass falls back to them.
    return step.__wrapped__ if getattr(step, "hooked", False) else step


def _share(loop: Callable[[int, int], None], parts: int) -> None:
    """Run loop(part, parts) for every part, on threads if there are several."""
    if parts == 1:
        loop(0, 1)
        return
    from deepgraph.kernels.numba_walk import thread_pool

    for _ in thread_pool(parts).map(lambda part: loop(part, parts), range(parts)):
        pass


class SGD(_Fused, torch.optim.SGD):
    """Stochastic gradient descent: `torch.optim.SGD` with one compiled loop over all parameters.

    Arguments, state, `state_dict` and numbers (to rounding) are torch's; so schedulers, checkpoints and `dg.follow`
    work as with it. Without numba, on other devices and for options that the loop does not know (a learning rate in a
    tensor, `differentiable`) torch's own step runs.

    Parameters
    ----------
    params : iterable of Parameter or of dict
    lr : float
    momentum, dampening, weight_decay : float
    nesterov, maximize : bool
        As in torch.

    Raises
    ------
    ValueError
        torch's, for values out of range.

    Examples
    --------
    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SGD([p], lr=0.5)
    >>> p.grad = torch.tensor([1.0])
    >>> optimizer.step()
    >>> p.item()
    0.5
    """

    _torch = torch.optim.SGD

    def _columns(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> tuple[list[int], Any]:
        if group["momentum"] == 0:
            return [0], False
        state = self.state[parameter]
        buffer = state.get("momentum_buffer")
        fresh = buffer is None
        if fresh:
            buffer = state["momentum_buffer"] = torch.empty_like(parameter, memory_format=torch.preserve_format)
        return [buffer.data_ptr()], fresh

    def _rule(self, flags: list[Any], group: dict[str, Any]) -> tuple[Any, NDArray[Any], tuple[Any, ...]]:
        from deepgraph.kernels.numba_updates import sgd_update

        options = (
            float(group["lr"]), float(group["momentum"]), float(group["dampening"]), float(group["weight_decay"]),
            bool(group["nesterov"]), -1.0 if group["maximize"] else 1.0,
        )  # fmt: skip
        return sgd_update, np.array(flags), options


class _AdamRule(_Fused):
    """The update of Adam, with weight decay in the gradient or apart from it."""

    def _columns(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> tuple[list[int], Any]:
        state = self.state[parameter]
        if not state:
            # torch counts steps in its default dtype where that is double.
            double = torch.get_default_dtype() == torch.float64
            state["step"] = torch.zeros((), dtype=torch.float64 if double else torch.float32)
            for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 3 if group["amsgrad"] else 2]:
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        first, second = state["exp_avg"], state["exp_avg_sq"]
        top = state["max_exp_avg_sq"] if group["amsgrad"] else second
        return [first.data_ptr(), second.data_ptr(), top.data_ptr()], state["step"]

    def _rule(self, flags: list[Any], group: dict[str, Any]) -> tuple[Any, NDArray[Any], tuple[Any, ...]]:
        from deepgraph.kernels.numba_updates import adam_update

        beta1, beta2 = group["betas"]
        decoupled = group.get("decoupled_weight_decay", False) or isinstance(self, torch.optim.AdamW)
        options = (
            float(group["lr"]), float(beta1), float(beta2), float(group["eps"]), float(group["weight_decay"]),
            bool(decoupled), bool(group["amsgrad"]), -1.0 if group["maximize"] else 1.0,
        )  # fmt: skip
        return adam_update, _advanced(flags), options


def _advanced(steps: list[Tensor]) -> NDArray[np.float64]:
    """Add 1 to the counters, one tensor each, and return them (P,)."""
    if all(step.dtype == torch.float32 and step.device.type == "cpu" for step in steps):
        from deepgraph.kernels.numba_updates import advance

        counts = np.empty(len(steps))
        advance(np.array([step.data_ptr() for step in steps]), np.empty(0, np.float32), counts)
        return counts
    for step in steps:
        step += 1
    return np.array([float(step) for step in steps])


class Adam(_AdamRule, torch.optim.Adam):
    """Adam: `torch.optim.Adam` with one compiled loop over all parameters.

    Arguments, state, `state_dict` and numbers (to rounding) are torch's; see `SGD`.

    Parameters
    ----------
    params : iterable of Parameter or of dict
    lr : float
    betas : (float, float)
    eps, weight_decay : float
    amsgrad, maximize : bool
        As in torch.

    Raises
    ------
    ValueError
        torch's, for values out of range.

    Examples
    --------
    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adam([p], lr=0.25)
    >>> p.grad = torch.tensor([3.0])
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.75
    """

    _torch = torch.optim.Adam


class AdamW(_AdamRule, torch.optim.AdamW):
    """Adam with decoupled weight decay: `torch.optim.AdamW` with one compiled loop over all parameters.

    Arguments, state, `state_dict` and numbers (to rounding) are torch's; see `SGD`.

    Parameters
    ----------
    params : iterable of Parameter or of dict
    lr : float
    betas : (float, float)
    eps, weight_decay : float
    amsgrad, maximize : bool
        As in torch.

    Raises
    ------
    ValueError
        torch's, for values out of range.

    Examples
    --------
    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([p], lr=0.25, weight_decay=0.5)
    >>> p.grad = torch.tensor([3.0])
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.625
    """

    _torch = torch.optim.AdamW
