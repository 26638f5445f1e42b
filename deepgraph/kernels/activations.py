"""Activation functions: name, uint8 code, forward, backward from what was saved, and gain for initialisation.

A kernel saves a node's output `a` and, only for activations whose derivative needs it, the sum `z` that went in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from deepgraph.errors import ArgumentError, UnsupportedOperationError

__all__ = [
    "LEAKY_SLOPE",
    "PRELU_SLOPE",
    "Activation",
    "activation",
    "activation_names",
    "bend",
    "bend_backward",
    "register_activation",
    "under_autograd",
]

LEAKY_SLOPE = 0.01
"""Slope of leaky_relu below zero, torch's default."""

PRELU_SLOPE = 0.25
"""Where the slope of a prelu starts, torch's default."""

SOFTPLUS_THRESHOLD = 20.0
"""Above this softplus is the identity, as torch's."""

CUSTOM_CODE = 128
"""Codes from here on belong to registered activations, which only the torch kernels can compute."""


@dataclass(frozen=True)
class Activation:
    """One elementwise activation function as the kernels use it.

    Parameters
    ----------
    name : str
        The name that users write, "relu".
    code : int
        The number stored per node, 0 to 255.
    forward : callable
        z (any shape) -> a (same shape); with `has_slope` (z, slope) -> a.
    backward : callable
        (gradient of a, saved) -> gradient of z, where saved is z if `needs_input` and a otherwise; with `has_slope`
        (gradient of a, z, slope) -> gradient of z.
    needs_input : bool
        True where the derivative cannot be computed from the output a.
    gain : float
        Factor on the standard deviation of the weights that keeps the second moment of the signal.
    has_slope : bool
        True for prelu: each node has a slope of its own, which is learned.
    """

    name: str
    code: int
    forward: Callable[..., Tensor]
    backward: Callable[..., Tensor]
    needs_input: bool
    gain: float
    has_slope: bool = False

    @property
    def is_custom(self) -> bool:
        """True for an activation registered by a user: torch kernels only."""
        return self.code >= CUSTOM_CODE


def _silu_backward(grad: Tensor, z: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(z)
    return grad * (sigmoid * (1 + z * (1 - sigmoid)))


def _gelu_backward(grad: Tensor, z: Tensor) -> Tensor:
    cumulative = 0.5 * (1 + torch.erf(z * math.sqrt(0.5)))
    return grad * (cumulative + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))


def _elu_backward(grad: Tensor, a: Tensor) -> Tensor:
    return torch.where(a > 0, grad, grad * (a + 1))


def _softplus_backward(grad: Tensor, a: Tensor) -> Tensor:
    # torch's softplus is the identity above its threshold, and so is ours.
    return torch.where(a > SOFTPLUS_THRESHOLD, grad, grad * -torch.expm1(-a))


def bend(z: Tensor, slope: Tensor | float) -> Tensor:
    """Return prelu(z): z above 0, slope * z elsewhere.

    Examples
    --------
    >>> bend(torch.tensor([-2.0, 3.0]), 0.25)
    tensor([-0.5000,  3.0000])
    """
    return torch.where(z > 0, z, z * slope)


def bend_backward(grad: Tensor, z: Tensor, slope: Tensor | float) -> Tensor:
    """Return the gradient of z from that of prelu(z); the slope's own is the sum of grad * min(z, 0).

    Examples
    --------
    >>> bend_backward(torch.ones(2), torch.tensor([-2.0, 3.0]), 0.25)
    tensor([0.2500, 1.0000])
    """
    return torch.where(z > 0, grad, grad * slope)


# Gains: torch.nn.init.calculate_gain where torch has a value, else E[f(z)^2]^(-1/2) for a standard normal z.
_BUILT_IN = (
    Activation("identity", 0, lambda z: z, lambda g, a: g, False, 1.0),
    Activation("relu", 1, torch.relu, lambda g, a: torch.ops.aten.threshold_backward(g, a, 0), False, math.sqrt(2.0)),
    Activation(
        "leaky_relu",
        2,
        lambda z: torch.nn.functional.leaky_relu(z, LEAKY_SLOPE),
        lambda g, a: torch.where(a > 0, g, g * LEAKY_SLOPE),
        False,
        math.sqrt(2.0 / (1 + LEAKY_SLOPE**2)),
    ),
    Activation("tanh", 3, torch.tanh, lambda g, a: g * (1 - a * a), False, 5.0 / 3.0),
    Activation("sigmoid", 4, torch.sigmoid, lambda g, a: g * (a * (1 - a)), False, 1.0),
    Activation("gelu", 5, torch.nn.functional.gelu, _gelu_backward, True, 1.5335),
    Activation("silu", 6, torch.nn.functional.silu, _silu_backward, True, 1.6765),
    Activation("elu", 7, torch.nn.functional.elu, _elu_backward, False, 1.2452),
    Activation("celu", 8, torch.nn.functional.celu, _elu_backward, False, 1.2452),
    Activation("softplus", 9, torch.nn.functional.softplus, _softplus_backward, False, 1.0418),
    # The sum is kept and not the output, whose sign says nothing where a slope is 0 or negative.
    Activation("prelu", 10, bend, bend_backward, True, math.sqrt(2.0 / (1 + PRELU_SLOPE**2)), has_slope=True),
)

_by_name: dict[str, Activation] = {entry.name: entry for entry in _BUILT_IN}
_by_code: dict[int, Activation] = {entry.code: entry for entry in _BUILT_IN}


def activation(key: str | int) -> Activation:
    """Return the activation of a name or of a code.

    Parameters
    ----------
    key : str or int
        A name such as "relu", or the code of a node, 0 to 255.

    Raises
    ------
    ArgumentError
        If no activation has that name or code.

    Examples
    --------
    >>> activation("relu").code, activation(3).name
    (1, 'tanh')
    """
    found = _by_name.get(key) if isinstance(key, str) else _by_code.get(int(key))
    if found is None:
        raise ArgumentError(
            f"unknown activation {key!r}: expected one of {', '.join(activation_names())}; "
            "add others with register_activation(name, function)"
        )
    return found


def activation_names() -> list[str]:
    """Return the names of all activations, built in ones first.

    Examples
    --------
    >>> activation_names()[:3]
    ['identity', 'relu', 'leaky_relu']
    """
    return list(_by_name)


@contextmanager
def under_autograd() -> Iterator[None]:
    """Let autograd record in this block, also inside a custom operator, where torch's dispatcher skips it.

    Examples
    --------
    >>> with torch.no_grad(), under_autograd():
    ...     torch.ones(1, requires_grad=True).exp().requires_grad
    True
    """
    keys, outside = torch._C.DispatchKey, torch._C._dispatch_tls_local_exclude_set()
    outside = outside.remove(keys.AutogradFunctionality).remove(keys.AutogradOther)
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), outside), torch.enable_grad():
        yield


def _by_autograd(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def backward(grad: Tensor, z: Tensor) -> Tensor:
        with under_autograd():
            leaf = z.detach().requires_grad_(True)
            return torch.autograd.grad(function(leaf), leaf, grad)[0]

    return backward


def register_activation(name: str, function: Callable[[Tensor], Tensor], gain: float = 1.0) -> Activation:
    """Return a new activation that nodes can name from now on; its derivative comes from autograd.

    Networks that use it run on the torch kernels, which the plan says. Registering the same name again replaces the
    function.

    Parameters
    ----------
    name : str
        Not the name of a built-in activation.
    function : callable
        Elementwise and differentiable, z (any shape) -> a (same shape).
    gain : float
        Positive factor on the standard deviation of initial weights.

    Raises
    ------
    ArgumentError
        If the name is empty or that of a built-in activation, the function is not elementwise, or gain is not positive.
    UnsupportedOperationError
        If more than 128 names were registered.

    Examples
    --------
    >>> register_activation("square", lambda z: z * z).needs_input
    True
    """
    known = _by_name.get(name)
    if not name or (known is not None and not known.is_custom):
        raise ArgumentError(f"expected a new name for an activation, got {name!r}, which is taken; choose another name")
    if not gain > 0:
        raise ArgumentError(f"expected a positive gain for activation {name!r}, got {gain!r}")
    probe = torch.linspace(-2, 2, 6).reshape(2, 3)
    result = function(probe)
    if not isinstance(result, Tensor) or result.shape != probe.shape:
        got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise ArgumentError(
            f"expected activation {name!r} to be elementwise, a tensor (2, 3) -> (2, 3), got {got}; "
            "a function that mixes or drops elements cannot be an activation"
        )
    code = known.code if known is not None else CUSTOM_CODE + sum(entry.is_custom for entry in _by_name.values())
    if code > 255:
        raise UnsupportedOperationError(f"at most 128 registered activations are supported, {name!r} would be one more")
    entry = Activation(name, code, function, _by_autograd(function), True, float(gain))
    _by_name[name] = entry
    _by_code[code] = entry
    return entry
