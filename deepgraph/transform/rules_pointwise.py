"""Rules for pointwise operations: activations, sums, products with constants.

Each makes nodes of its own with edges of known weight; a fusion pass merges them where it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepgraph.kernels.activations import activation
from deepgraph.transform.neurons import unit
from deepgraph.transform.operands import Term, short_name
from deepgraph.transform.provenance import CONSTANT, DERIVED, OPAQUE
from deepgraph.transform.reductions import combine
from deepgraph.transform.rules import Call, rule, unsupported

__all__ = ["Bend", "bent"]

Number = float | Tensor

_PLAIN = ("relu", "tanh", "sigmoid", "silu")
_WITHOUT_FORM = (
    "cos exp expm1 erf erfc hardswish hardshrink log log10 log1p log2 mish nan_to_num pow reciprocal rsqrt sin sinh "
    "cosh sqrt tan atan asin acos logit"
)


@dataclass(frozen=True)
class Bend:
    """One part of a function that is a sum of activations: outer * activation(inner * x + shift)."""

    activation: str
    outer: Number = 1.0
    inner: Number = 1.0
    shift: Number = 0.0


def bent(call: Call, parts: Sequence[Bend], bias: Number = 0.0) -> Tensor:
    """Return ids of bias + sum of the parts, each an activation of the operand, in the shape of the operand.

    Parameters
    ----------
    call : Call
        A pointwise operation on `self`.
    parts : sequence of Bend
        The parts; a plain activation is one part without factors.
    bias : float or torch.Tensor
        Constant summand.
    """
    x = call["self"]
    terms = []
    for part in parts:
        ids = unit(call, [Term(x, part.inner)], x.shape, bias=part.shift, activation=part.activation)
        terms.append(Term(_value(part, x), part.outer, ids))
    if len(parts) == 1 and _is_one(parts[0].outer) and _is_zero(bias):
        return terms[0].ids if terms[0].ids is not None else call.ids(x)
    return unit(call, terms, x.shape, bias=bias)


def _value(part: Bend, x: Tensor) -> Tensor:
    return activation(part.activation).forward(x * part.inner + part.shift)


def _is_one(value: Number) -> bool:
    return not isinstance(value, Tensor) and value == 1


def _is_zero(value: Number) -> bool:
    return not isinstance(value, Tensor) and value == 0


def _plain(name: str) -> Callable[[Call], Tensor]:
    def activate(call: Call) -> Tensor:
        return bent(call, [Bend(name)])

    return activate


for _name in _PLAIN:
    rule(f"aten::{_name}")(_plain(_name))


def _formless(name: str) -> Callable[[Call], Tensor]:
    def activate(call: Call) -> Tensor:
        x = call["self"]
        if not call.tracked(x):
            return _nonlinear(call, [entry for entry in call.arguments.values() if isinstance(entry, Tensor)])
        call.tracer.note_inexact(f"{call.name} is not an activation that nodes can have")
        return unit(call, [Term(x)], call.result.shape, activation=name)

    return activate


for _name in _WITHOUT_FORM.split():
    rule(f"aten::{_name}")(_formless(_name))


@rule("aten::gelu")
def gelu(call: Call) -> Tensor:
    """x * Phi(x); the tanh approximation is another function, which nodes do not have."""
    if call.get("approximate", "none") != "none":
        return _formless("gelu_tanh")(call)
    return bent(call, [Bend("gelu")])


@rule("aten::leaky_relu")
def leaky_relu(call: Call) -> Tensor:
    """relu(x) - slope * relu(-x)."""
    slope = float(call["negative_slope"])
    if slope == 0.01:
        return bent(call, [Bend("leaky_relu")])
    return bent(call, [Bend("relu"), Bend("relu", -slope, -1.0)])


@rule("aten::rrelu_with_noise")
def rrelu(call: Call) -> Tensor:
    """relu(x) - slope * relu(-x), the slope in the middle of its range outside of training."""
    slope = (float(call["lower"]) + float(call["upper"])) / 2
    if call["training"]:
        raise unsupported(call, "expected the slope of eval mode, got a random one of training in")
    return bent(call, [Bend("relu"), Bend("relu", -slope, -1.0)])


@rule("aten::sign", "aten::floor", "aten::ceil", "aten::round", "aten::trunc")
def step(call: Call) -> Tensor:
    """Constant but for jumps: depends on the operand without a derivative."""
    ids = call.ids(call["self"])
    return torch.where(ids >= 0, DERIVED, ids)


@rule("aten::prelu", "aten::_prelu_kernel")
def prelu(call: Call) -> Tensor:
    """A node with a slope; between channels relu(x) - slope * relu(-x), one slope per channel."""
    x, slope = call["self"], call["weight"]
    if slope.ndim == 1 and slope.numel() > 1:
        slope = slope.view(-1, *[1] * (x.ndim - 2))
    if call.tracer.settings.order == 0:
        return unit(call, [Term(x)], x.shape, activation="prelu", slope=slope)
    return bent(call, [Bend("relu"), Bend("relu", -slope.reshape(slope.shape if slope.ndim else ()), -1.0)])


@rule("aten::elu")
def elu(call: Call) -> Tensor:
    """scale * (relu(x) + alpha * (exp(input_scale * min(x, 0)) - 1)), by elu(z) = relu(z) + exp(min(z, 0)) - 1."""
    alpha, scale = float(call.get("alpha", 1)), float(call.get("scale", 1))
    inner = float(call.get("input_scale", 1))
    if alpha == scale == inner == 1:
        return bent(call, [Bend("elu")])
    return bent(call, [Bend("elu", scale * alpha, inner), Bend("relu", scale * (1 - alpha * inner))])


@rule("aten::celu")
def celu(call: Call) -> Tensor:
    """alpha * celu(x / alpha)."""
    alpha = float(call.get("alpha", 1))
    return bent(call, [Bend("celu", alpha, 1 / alpha)])


@rule("aten::softplus")
def softplus(call: Call) -> Tensor:
    """softplus(beta * x) / beta; torch's linear branch above `threshold` differs by less than rounding at 20."""
    beta, threshold = float(call.get("beta", 1)), float(call.get("threshold", 20))
    if threshold < 20:
        call.tracer.note_inexact(f"{call.name} becomes linear above {threshold:g}")
    return bent(call, [Bend("softplus", 1 / beta, beta)])


@rule("aten::log_sigmoid_forward")
def log_sigmoid(call: Call) -> tuple[Tensor | None, ...]:
    """-softplus(-x), and a buffer."""
    buffer = torch.full(call.result[1].shape, OPAQUE)
    return bent(call, [Bend("softplus", -1.0, -1.0)]), buffer


@rule("aten::hardtanh", "aten::clamp", "aten::relu6")
def clamp(call: Call) -> Tensor:
    """min + relu(x - min) - relu(x - max)."""
    low, high = call.get("min_val", call.get("min")), call.get("max_val", call.get("max"))
    if call.name.startswith("aten::relu6"):
        low, high = 0, 6
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return _nonlinear(call, [x for x in (call["self"], low, high) if isinstance(x, Tensor)])
    if low is None:
        return bent(call, [Bend("relu", -1.0, -1.0, float(high))], float(high))
    if high is None:
        return bent(call, [Bend("relu", shift=-float(low))], float(low))
    if low > high:
        return torch.full(call["self"].shape, CONSTANT)
    return bent(call, [Bend("relu", shift=-float(low)), Bend("relu", -1.0, shift=-float(high))], float(low))


@rule("aten::clamp_min")
def clamp_min(call: Call) -> Tensor:
    """min + relu(x - min)."""
    if isinstance(call["min"], Tensor):
        return _nonlinear(call, [call["self"], call["min"]])
    return bent(call, [Bend("relu", shift=-float(call["min"]))], float(call["min"]))


@rule("aten::threshold")
def threshold(call: Call) -> Tensor:
    """x where x > 0 and else 0, which is relu; other thresholds jump."""
    if call["threshold"] == 0 and call["value"] == 0:
        return bent(call, [Bend("relu")])
    return _formless("threshold")(call)


@rule("aten::abs")
def absolute(call: Call) -> Tensor:
    """relu(x) + relu(-x)."""
    return bent(call, [Bend("relu"), Bend("relu", 1.0, -1.0)])


@rule("aten::hardsigmoid")
def hardsigmoid(call: Call) -> Tensor:
    """(relu(x + 3) - relu(x - 3)) / 6."""
    return bent(call, [Bend("relu", 1 / 6, shift=3.0), Bend("relu", -1 / 6, shift=-3.0)])


@rule("aten::softshrink")
def softshrink(call: Call) -> Tensor:
    """relu(x - lambda) - relu(-x - lambda)."""
    edge = float(call["lambd"])
    return bent(call, [Bend("relu", shift=-edge), Bend("relu", -1.0, -1.0, -edge)])


@rule("aten::add", "aten::sub")
def add(call: Call) -> Tensor:
    """self + alpha * other, or minus."""
    sign = -1.0 if call.name.startswith("aten::sub") else 1.0
    return _sum(call, call["self"], 1.0, call["other"], sign * float(call.get("alpha", 1)))


@rule("aten::rsub")
def rsub(call: Call) -> Tensor:
    """other - alpha * self."""
    return _sum(call, call["self"], -float(call.get("alpha", 1)), call["other"], 1.0)


@rule("aten::neg")
def neg(call: Call) -> Tensor:
    """-self."""
    return unit(call, [Term(call["self"], -1.0)], call["self"].shape)


@rule("aten::mul")
def mul(call: Call) -> Tensor:
    """self * other; a product of two activations is a node that multiplies."""
    a, b = call["self"], call["other"]
    if call.tracked(a) and call.tracked(b):
        return combine(call, [Term(a), Term(b)], call.result.shape, "prod")
    if not call.tracked(a):
        a, b = b, a
    return unit(call, [Term(a, b)], call.result.shape)


@rule("aten::div")
def div(call: Call) -> Tensor:
    """self / other; a quotient by an activation has no form of its own."""
    a, b = call["self"], call["other"]
    if call.get("rounding_mode") is not None or call.tracked(b):
        return _nonlinear(call, [entry for entry in (a, b) if isinstance(entry, Tensor)])
    return unit(call, [Term(a, 1 / b)], call.result.shape)


@rule("aten::lerp")
def lerp(call: Call) -> Tensor:
    """self + weight * (end - self)."""
    a, b, weight = call["self"], call["end"], call["weight"]
    if call.tracked(weight):
        return _nonlinear(call, [a, b, weight])
    return unit(call, [Term(a, 1 - weight), Term(b, weight)], call.result.shape)


@rule("aten::addcmul")
def addcmul(call: Call) -> Tensor:
    """self + value * tensor1 * tensor2."""
    base, a, b = call["self"], call["tensor1"], call["tensor2"]
    if call.tracked(a) and call.tracked(b):
        made = combine(call, [Term(a), Term(b)], call.result.shape, "prod")
        return unit(call, [Term(base), Term(a * b, call.get("value", 1), made)], call.result.shape)
    if not call.tracked(a):
        a, b = b, a
    return unit(call, [Term(base), Term(a, b * call.get("value", 1))], call.result.shape)


@rule("aten::glu")
def glu(call: Call) -> Tensor:
    """First half times sigmoid of the second half."""
    x, dim = call["self"], call["dim"]
    first, second = x.chunk(2, dim)
    gate = unit(call, [Term(second)], second.shape, activation="sigmoid")
    return combine(call, [Term(first), Term(torch.sigmoid(second), ids=gate)], first.shape, "prod")


@rule("aten::square", "aten::pow.Tensor_Scalar")
def square(call: Call) -> Tensor:
    """x * x; other powers have no form."""
    x = call["self"]
    if call.get("exponent", 2) == 2:
        return combine(call, [Term(x), Term(x)], x.shape, "prod")
    return _formless("pow")(call)


@rule("aten::maximum", "aten::minimum", "aten::max.other", "aten::min.other")
def maximum(call: Call) -> Tensor:
    """Elementwise maximum, or minimum: the negative of the maximum of the negatives."""
    sign = 1.0 if call.name.startswith("aten::max") else -1.0
    made = combine(call, [Term(call["self"], sign), Term(call["other"], sign)], call.result.shape, "max")
    return made if sign > 0 else unit(call, [Term(-call.result, -1.0, made)], call.result.shape)


def _sum(call: Call, a: Tensor, factor_a: float, b: Tensor | float, factor_b: float) -> Tensor:
    shape = call.result.shape
    if isinstance(b, Tensor) and call.tracked(b):
        if not call.tracked(a):
            return unit(call, [Term(b, factor_b)], shape, bias=a if factor_a == 1 else a * factor_a)
        return unit(call, [Term(a, factor_a), Term(b, factor_b)], shape)
    return unit(call, [Term(a, factor_a)], shape, bias=b if factor_b == 1 else b * factor_b)


def _nonlinear(call: Call, operands: Sequence[Tensor]) -> Tensor:
    """Return ids of nodes that depend on the operands elementwise, in a way that nodes cannot carry."""
    call.tracer.note_inexact(f"{call.name} combines activations in a way that nodes do not")
    terms = [Term(operand) for operand in operands]
    return unit(call, terms, call.result.shape, activation=short_name(call))
