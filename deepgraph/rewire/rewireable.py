"""Rewireable modules: weights written as sign * max(theta, 0), for optimizers that rewire a list of parameters."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.sparse.randomness import Seed, root_seed, torch_stream

__all__ = ["Rewireable", "convert_from_deep_rewireable", "convert_to_deep_rewireable", "measure_sparsity"]

Biases = Literal["ignore", "as_connections", "second_bias"]

DORMANT = -1e-12
"""theta of a connection that is off at the start."""


class Rewireable(nn.Module):
    """What a converted module becomes besides its own class: its weight and bias are computed from theta and signs.

    A connection is active where theta >= 0, and its weight is sign * max(theta, 0). Gradients reach active ones only.

    Attributes
    ----------
    weight_theta : Parameter
        Of the shape of the weight.
    weight_signs : Tensor
        +1 or -1, int8.
    bias_theta, bias_signs, bias_negative : Tensor
        By the way biases are handled; `bias_theta` is the bias itself where they are ignored.
    """

    weight_theta: nn.Parameter
    weight_signs: Tensor
    bias_theta: nn.Parameter
    bias_signs: Tensor
    bias_negative: nn.Parameter
    handle_biases: Biases

    @property
    def weight(self) -> Tensor:
        """The weight."""
        return self.weight_theta.clamp_min(0) * self.weight_signs

    @property
    def bias(self) -> Tensor | None:
        """The bias."""
        if "bias_theta" not in self._parameters:
            return None
        if self.handle_biases == "ignore":
            return self.bias_theta
        if self.handle_biases == "as_connections":
            return self.bias_theta.clamp_min(0) * self.bias_signs
        return self.bias_theta.clamp_min(0) - self.bias_negative.clamp_min(0)

    def thetas(self) -> list[nn.Parameter]:
        """Return the parameters whose entries are connections."""
        found = [self.weight_theta]
        if "bias_theta" in self._parameters and self.handle_biases != "ignore":
            found.append(self.bias_theta)
        if "bias_negative" in self._parameters:
            found.append(self.bias_negative)
        return found

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made at run time, so a copy or a pickle names the class that it was made from.
        reduced: Any = super().__reduce_ex__(protocol)
        return _blank, (self._original_class(),), *reduced[2:]

    @classmethod
    def _original_class(cls) -> type[nn.Module]:
        return cls.__mro__[2]


@cache
def _class(original: Hashable) -> type[nn.Module]:
    """Return the rewireable subclass of a class, the same one every time."""
    if not isinstance(original, type):
        raise DtypeError(f"expected a class, got {original!r}")
    return type(f"Rewireable{original.__name__}", (Rewireable, original), {"__module__": original.__module__})


def _blank(original: Hashable) -> nn.Module:
    made = _class(original)
    return made.__new__(made)


def convert_to_deep_rewireable(
    module: nn.Module,
    handle_biases: Biases = "second_bias",
    active_probability: float | None = None,
    keep_signs: bool = False,
    *,
    seed: Seed = None,
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return `(rewireable, other)` parameters of a module whose weights are signs times theta from now on.

    Parameters
    ----------
    module : nn.Module
        Every Linear and Conv2d in it, at any depth, is converted, also the output projection of attention. A weight
        that several modules share, or that is computed by a parametrization, stays.
    handle_biases : {"ignore", "as_connections", "second_bias"}
        Biases stay as they are, among the other parameters; are connections of one random sign; or are the difference
        of two connections, one of each sign, which changes nothing at the start.
    active_probability : float, optional
        In [0, 1]: probability that a connection is active at the start. By default those of positive weight are: signs
        are drawn anew, so that half of the weights are off.
    keep_signs : bool
        Keep the function of the module: signs are those of the weights, and all but zeros are active.
    seed : int, Generator or None
        For signs and activity.

    Returns
    -------
    rewireable : list of Parameter
        What DEEPR and soft-DEEPR take: thetas of weights and biases, each once.
    other : list of Parameter
        All others, each once.

    Raises
    ------
    DtypeError
        If `module` is no nn.Module.
    ArgumentError
        If an option is not valid, or a part of the module is converted already.

    Warns
    -----
    UserWarning
        If `active_probability` is given together with `keep_signs`, which decides what is active.

    References
    ----------
    .. [1] Bellec, Kappel, Maass, Legenstein: Deep rewiring: training very sparse deep networks, ICLR 2018,
       arXiv 1711.05136, section 2. Differs from the paper: biases may be connections.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> rewireable, other = convert_to_deep_rewireable(model, keep_signs=True)
    >>> [tuple(p.shape) for p in rewireable], other
    ([(3, 4), (3,), (3,), (2, 3), (2,), (2,)], [])
    >>> list(convert_from_deep_rewireable(model).state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    if not isinstance(module, nn.Module):
        raise DtypeError(f"module: expected an nn.Module, got {type(module).__name__}")
    if handle_biases not in get_args(Biases):
        raise ArgumentError(f"handle_biases: expected one of {get_args(Biases)}, got {handle_biases!r}")
    if active_probability is not None and not 0 <= active_probability <= 1:
        raise ArgumentError(f"active_probability: expected a number in [0, 1], got {active_probability!r}")
    if any(isinstance(one, Rewireable) for one in module.modules()):
        raise ArgumentError("module: expected one that is not rewireable yet, got one with converted parts; call "
                            "convert_from_deep_rewireable first")  # fmt: skip
    if keep_signs and active_probability is not None:
        warnings.warn(
            "active_probability has no effect with keep_signs=True, which keeps the function of the module",
            UserWarning,
            stacklevel=2,
        )
    generator = torch_stream(root_seed(seed), 0)
    start = _Start(handle_biases, None if keep_signs else active_probability, keep_signs, generator)
    rewireable: list[nn.Parameter] = []
    for one in _convertible(module):
        start.convert(one)
        rewireable.extend(one.thetas())  # type: ignore[operator]
    mine = {id(parameter) for parameter in rewireable}
    return rewireable, [parameter for parameter in module.parameters() if id(parameter) not in mine]


def _convertible(module: nn.Module) -> list[nn.Module]:
    """Return the Linear and Conv2d modules whose parameters are their own."""
    owners: dict[int, int] = {}
    for one in module.modules():
        for parameter in one._parameters.values():
            owners[id(parameter)] = owners.get(id(parameter), 0) + (parameter is not None)
    return [
        one
        for one in module.modules()
        if isinstance(one, (nn.Linear, nn.Conv2d))
        and one._parameters.get("weight") is not None
        and all(owners[id(p)] == 1 for p in one._parameters.values() if p is not None)
        and {name for name, p in one._parameters.items() if p is not None} <= {"weight", "bias"}
    ]


class _Start:
    """How thetas and signs begin."""

    def __init__(
        self, handle_biases: Biases, active: float | None, keep_signs: bool, generator: torch.Generator
    ) -> None:
        self.handle_biases, self.active, self.keep_signs, self.generator = handle_biases, active, keep_signs, generator

    def connections(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return thetas and signs of the shape of a weight."""
        if self.keep_signs:
            signs = torch.where(weight >= 0, 1, -1)
            theta = torch.where(weight == 0, self._dormant(weight), weight.abs())
            return theta, signs.to(torch.int8)
        signs = torch.randint(0, 2, weight.shape, generator=self.generator).to(weight.device) * 2 - 1
        theta = weight
        if self.active is not None:
            on = (torch.rand(weight.shape, generator=self.generator) < self.active).to(weight.device)
            theta = torch.where(on, weight.abs(), torch.minimum(-weight.abs(), self._dormant(weight)))
        return torch.where((theta == 0) & (weight == 0), self._dormant(weight), theta), signs.to(torch.int8)

    @staticmethod
    def _dormant(like: Tensor) -> Tensor:
        smallest = torch.finfo(like.dtype).smallest_normal
        return like.new_tensor(min(DORMANT, -smallest))

    def convert(self, module: nn.Module) -> None:
        """Make a Linear or Conv2d rewireable, in place; it keeps its identity, hooks and mode."""
        weight, bias = module._parameters.pop("weight"), module._parameters.pop("bias", None)
        if weight is None:
            return
        original: Hashable = type(module)  # type: ignore[assignment]
        module.__class__ = _class(original)
        module.handle_biases = self.handle_biases  # type: ignore[assignment]
        theta, signs = self.connections(weight.detach())
        module.weight_theta = nn.Parameter(theta.clone(), weight.requires_grad)
        module.register_buffer("weight_signs", signs)
        if bias is None:
            return
        if self.handle_biases == "ignore":
            module.bias_theta = bias
        elif self.handle_biases == "as_connections":
            theta, signs = self.connections(bias.detach())
            module.bias_theta = nn.Parameter(theta.clone(), bias.requires_grad)
            module.register_buffer("bias_signs", signs)
        else:
            low = self._dormant(bias.detach())
            for name, value in (("bias_theta", bias.detach()), ("bias_negative", -bias.detach())):
                theta = torch.where(value == 0, low, value)
                module.register_parameter(name, nn.Parameter(theta, bias.requires_grad))


def convert_from_deep_rewireable(module: nn.Module) -> nn.Module:
    """Return a module after its rewireable parts have plain weights and biases again, in place; others stay.

    Outputs are the same to the bit, and the keys of `state_dict` are those of before the conversion.

    Raises
    ------
    DtypeError
        If `module` is no nn.Module.

    Examples
    --------
    >>> layer = nn.Conv2d(2, 2, 3)
    >>> _ = convert_to_deep_rewireable(layer, active_probability=0.25, seed=0)
    >>> measure_sparsity(convert_from_deep_rewireable(layer)) > 0.5
    True
    """
    if not isinstance(module, nn.Module):
        raise DtypeError(f"module: expected an nn.Module, got {type(module).__name__}")
    for one in list(module.modules()):
        if isinstance(one, Rewireable):
            with torch.no_grad():
                weight, bias = one.weight.clone(), one.bias
            needs = one.weight_theta.requires_grad
            ignored = one.handle_biases == "ignore"
            kept = one._parameters.get("bias_theta")
            for name in ("weight_theta", "bias_theta", "bias_negative"):
                one._parameters.pop(name, None)
            for name in ("weight_signs", "bias_signs"):
                one._buffers.pop(name, None)
                one._non_persistent_buffers_set.discard(name)
            del one.handle_biases
            original = one._original_class()
            one.__class__ = original  # type: ignore[assignment]
            one.register_parameter("weight", nn.Parameter(weight, needs))
            if bias is not None and kept is not None:
                bias = kept if ignored else nn.Parameter(bias.detach().clone(), kept.requires_grad)
            one.register_parameter("bias", bias)  # type: ignore[arg-type]
    return module


def measure_sparsity(module: Any) -> float:
    """Return the share of connections that are off, in [0, 1].

    Parameters
    ----------
    module : nn.Module or iterable of Parameter
        Of a module: of its rewireable parts those with theta < 0, or, if nothing is converted, the zeros in weights of
        Linear and Conv2d. Of parameters: those with theta < 0.

    Raises
    ------
    ArgumentError
        If there is no connection at all.

    Examples
    --------
    >>> measure_sparsity([torch.tensor([0.5, -0.1, 0.0, -2.0])])
    0.5
    """
    if not isinstance(module, nn.Module):
        off = [theta.detach() < 0 for theta in module]
    else:
        parts = [one for one in module.modules() if isinstance(one, Rewireable)]
        off = [theta.detach() < 0 for one in parts for theta in one.thetas()]
        if not parts:
            plain = [one for one in module.modules() if isinstance(one, (nn.Linear, nn.Conv2d))]
            off = [one.weight.detach() == 0 for one in plain]
    total = sum(int(mask.numel()) for mask in off)
    if not total:
        raise ArgumentError("module: expected Linear or Conv2d modules or thetas, got nothing to measure")
    return sum(int(mask.sum()) for mask in off) / total
