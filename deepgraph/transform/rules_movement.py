"""Rules for data movement: the same operation, run on the ids instead of the values. Views need no rule at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deepgraph.transform.accumulate import accumulate_put
from deepgraph.transform.provenance import DERIVED
from deepgraph.transform.rules import Call, constant_rule, rule, unsupported

__all__ = ["move_declared"]

# Operation -> (arguments that carry data, arguments that carry positions, arguments to replace when run on ids).
_MOVEMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, Any]]] = {
    "aten::cat": (("tensors",), (), {}),
    "aten::stack": (("tensors",), (), {}),
    "aten::clone": (("self",), (), {"memory_format": None}),
    "aten::contiguous": (("self",), (), {}),
    "aten::lift_fresh_copy": (("self",), (), {}),
    "aten::repeat": (("self",), (), {}),
    "aten::repeat_interleave.self_int": (("self",), (), {}),
    "aten::flip": (("self",), (), {}),
    "aten::roll": (("self",), (), {}),
    "aten::rot90": (("self",), (), {}),
    "aten::tril": (("self",), (), {}),
    "aten::triu": (("self",), (), {}),
    "aten::diag_embed": (("self",), (), {}),
    "aten::index": (("self",), ("indices",), {}),
    "aten::index_select": (("self",), ("index",), {}),
    "aten::gather": (("self",), ("index",), {}),
    "aten::take": (("self",), ("index",), {}),
    "aten::masked_select": (("self",), ("mask",), {}),
    "aten::masked_fill": (("self",), ("mask", "value"), {"value": 0}),
    "aten::where.self": (("self", "other"), ("condition",), {}),
    "aten::index_put": (("self", "values"), ("indices",), {}),
    "aten::index_copy": (("self", "source"), ("index",), {}),
    "aten::index_fill": (("self",), ("index", "value"), {"value": 0}),
    "aten::masked_scatter": (("self", "source"), ("mask",), {}),
    "aten::scatter.src": (("self", "src"), ("index",), {}),
    "aten::scatter.value": (("self",), ("index",), {"value": 0}),
    "aten::select_scatter": (("self", "src"), (), {}),
    "aten::slice_scatter": (("self", "src"), (), {}),
    "aten::constant_pad_nd": (("self",), (), {"value": 0}),
    "aten::reflection_pad1d": (("self",), (), {}),
    "aten::reflection_pad2d": (("self",), (), {}),
    "aten::reflection_pad3d": (("self",), (), {}),
    "aten::replication_pad1d": (("self",), (), {}),
    "aten::replication_pad2d": (("self",), (), {}),
    "aten::replication_pad3d": (("self",), (), {}),
    "aten::pixel_shuffle": (("self",), (), {}),
    "aten::pixel_unshuffle": (("self",), (), {}),
    "aten::channel_shuffle": (("self",), (), {}),
    "aten::im2col": (("self",), (), {}),
    "aten::upsample_nearest1d": (("self",), (), {}),
    "aten::upsample_nearest2d": (("self",), (), {}),
    "aten::upsample_nearest3d": (("self",), (), {}),
    "aten::_upsample_nearest_exact1d": (("self",), (), {}),
    "aten::_upsample_nearest_exact2d": (("self",), (), {}),
    "aten::_upsample_nearest_exact3d": (("self",), (), {}),
    "aten::unfold_copy": (("self",), (), {}),
}

# On constants these declare a support, see rules_constant.
_MASKING = ("aten::masked_fill", "aten::where.self")


def _mover(data: tuple[str, ...], positions: tuple[str, ...], replaced: dict[str, Any]) -> Callable[[Call], Any]:
    def move(call: Call) -> Any:
        for name in positions:
            _note_positions(call, name)
        if call.get("accumulate", False):
            return accumulate_put(call)
        return call.replay(call.ids, data, **_known(call, replaced))

    return move


def _known(call: Call, replaced: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in replaced.items() if name in call.arguments}
    if isinstance(call.get("value"), Tensor):
        known["value"] = torch.zeros((), dtype=torch.int64)
    return known


def _note_positions(call: Call, name: str) -> None:
    entries = call.get(name)
    for tensor in entries if isinstance(entries, list | tuple) else [entries]:
        if call.tracked(tensor):
            if name == "value":
                raise unsupported(call, "expected a constant value to fill in, got one that depends on the input in")
            call.tracer.input_dependent = True


def _constant_mover(data: tuple[str, ...], replaced: dict[str, Any]) -> Callable[[Call], None]:
    def move(call: Call) -> None:
        if not call.get("accumulate", False):
            move_declared(call, data, replaced)

    return move


def move_declared(call: Call, data: tuple[str, ...], replaced: dict[str, Any]) -> None:
    """Pass on support and parameter entries of constants through a data movement.

    Parameters
    ----------
    call : Call
        The operation, without operands that depend on the input.
    data : tuple of str
        The arguments that carry data.
    replaced : dict
        Arguments that take another value on entries.
    """
    provenance = call.tracer.provenance
    for table, read in ((provenance.origin, provenance.origins), (provenance.support, provenance.support.read)):
        _write(table, call.result, call.replay(read, data, **_known(call, replaced)))


def _write(table: Any, result: Any, entries: Any) -> None:
    results, parts = (result, entries) if isinstance(result, list | tuple) else ([result], [entries])
    for tensor, part in zip(results, parts, strict=True):
        table.write(tensor, part)


for _name, (_data, _positions, _replaced) in _MOVEMENTS.items():
    rule(_name)(_mover(_data, _positions, _replaced))
    if _name not in _MASKING:
        constant_rule(_name)(_constant_mover(_data, _replaced))


@rule("aten::copy")
def copy(call: Call) -> Tensor:
    """src, broadcast to self: `a[i] = b` ends here."""
    return call.ids(call["src"]).expand(call["self"].shape)


@rule("aten::_to_copy")
def to_copy(call: Call) -> Tensor:
    """self in another dtype or place."""
    ids = call.ids(call["self"])
    if call["self"].is_floating_point() and not call.result.is_floating_point():
        return torch.where(ids == -1, ids, DERIVED)
    return ids


@rule("aten::fill", "aten::zero", "aten::zeros_like", "aten::ones_like", "aten::full_like", "aten::new_zeros")
@rule("aten::new_ones", "aten::new_full", "aten::new_empty", "aten::empty_like", "aten::rand_like", "aten::randn_like")
@rule("aten::new_empty_strided", "aten::scalar_tensor", "aten::uniform", "aten::normal", "aten::bernoulli")
def filled(call: Call) -> Tensor:
    """A constant of the operand's shape."""
    if call.tracked(call.get("value")):
        return call.ids(call["value"]).expand(call.result.shape)
    return torch.full(call.result.shape, -1)


@rule("aten::sort", "aten::topk")
def sort(call: Call) -> tuple[Tensor | None, ...]:
    """Values in another order, chosen by the values themselves."""
    call.tracer.input_dependent = True
    indices = call.result[1].cpu()
    dim = call.get("dim", -1)
    ids = call.ids(call["self"])
    moved = ids.gather(dim, indices) if ids.ndim else ids
    return moved, torch.full(indices.shape, DERIVED)


@rule("aten::native_dropout")
def native_dropout(call: Call) -> tuple[Tensor | None, ...]:
    """The operand itself outside training."""
    if call.get("train", True):
        raise unsupported(call, "expected dropout to be off in eval mode, got a model that calls")
    return call.ids(call["input"]), None


@rule("aten::detach", "aten::alias", "aten::_reshape_copy", "aten::lift")
def unchanged(call: Call) -> Tensor:
    """The operand, elsewhere."""
    return call.ids(call["self"]).reshape(call.result.shape)
