"""The tracer: a dispatch mode that follows one real forward pass, operation by operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from deepgraph.errors import ShapeError, UnsupportedOperationError
from deepgraph.transform.collect import Collector
from deepgraph.transform.couplings import Couplings
from deepgraph.transform.neurons import fully_connected
from deepgraph.transform.provenance import CONSTANT, DERIVED, OPAQUE, OTHER_SAMPLE, Provenance, storage_key
from deepgraph.transform.rules import Call, find_constant_rule, find_rule, unsupported
from deepgraph.transform.sandbox import Mode, Sandbox

__all__ = ["Settings", "Tracer", "is_view"]


@dataclass(frozen=True)
class Settings:
    """What a trace was asked for.

    Parameters
    ----------
    threshold : float
        Foreign dense weights with |w| <= threshold are no edges; 0 or more.
    density : float or None
        Fraction in (0, 1] of each foreign dense weight that is kept, the largest by magnitude.
    unknown : {"error", "dense"}
        What to do with an operation without a rule.
    batch_dim : int or None
        Dimension of the samples; None where the whole input is one sample.
    order : int
        0: a node per element; 1: a node per channel.
    channel_dim : int or None
        Order 1: dimension of the channels of the inputs; None to find it.
    """

    threshold: float = 0.0
    density: float | None = None
    unknown: Literal["error", "dense"] = "error"
    batch_dim: int | None = 0
    order: int = 0
    channel_dim: int | None = None


class Tracer(Mode):  # type: ignore[no-untyped-call]
    """Follows every operation while it is active and gives ids to what it computes.

    Parameters
    ----------
    provenance : Provenance
        The tables to read and write.
    collector : Collector
        Takes nodes and edges.
    sandbox : Sandbox
        Told of writes to the model's own tensors.
    stack : sequence of (path, module, call)
        The module calls that are running, innermost last.
    settings : Settings
        What was asked for.
    couplings : Couplings, optional
        Told which channels can only go together.
    """

    def __init__(
        self,
        provenance: Provenance,
        collector: Collector,
        sandbox: Sandbox,
        stack: Sequence[tuple[str, nn.Module, int]],
        settings: Settings,
        couplings: Couplings | None = None,
    ) -> None:
        super().__init__()
        self.provenance = provenance
        self.collector = collector
        self.settings = settings
        self.couplings = couplings
        self.input_dependent = False
        self.inexact: dict[str, None] = {}
        self.supports: dict[str, None] = {}
        self.programs: list[Any] = []
        self.cells: list[Any] = []
        self._sandbox = sandbox
        self._stack = stack

    @property
    def module(self) -> str:
        """Path of the module whose forward is running, "" for the model itself."""
        return self._stack[-1][0] if self._stack else ""

    @property
    def running(self) -> nn.Module | None:
        """The module whose forward is running, None outside of modules."""
        return self._stack[-1][1] if self._stack else None

    def where(self) -> str:
        """Return the place for a message: the path and the class of the running module."""
        if not self._stack:
            return "the model"
        path, module, _ = self._stack[-1]
        return f"module {path!r} ({type(module).__name__})" if path else f"the model ({type(module).__name__})"

    def note_inexact(self, reason: str) -> None:
        """Record that the graph has the right structure but does not carry the function, and why."""
        self.inexact.setdefault(reason)

    def note_support(self, rule: str) -> None:
        """Record by which rule edges were chosen."""
        self.supports.setdefault(rule)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and record what its result depends on."""
        kwargs = kwargs or {}
        operands = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.note_inexact(f"{func._schema.name} draws random numbers")
        tracked = self.provenance.any_tracked(operands)
        followed = tracked or any(self._is_declared(tensor) for tensor in operands)
        arguments = _bind(func, args, kwargs) if followed or func._schema.is_mutable else {}
        written = list(_written(func, arguments)) if func._schema.is_mutable else []
        for tensor in written:
            self._sandbox.save_before_write(tensor)
        if followed and written:
            arguments = self._with_copies(arguments, written)
        result = func(*args, **kwargs)
        if not followed or torch.Tag.inplace_view in func.tags or (not written and is_view(result, operands)):
            return result
        call = Call(self, func, arguments, result)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)] or written
        if tracked:
            self._follow(call, operands, outputs)
        else:
            self._follow_constant(call, outputs, bool(written))
        return result

    def _is_declared(self, tensor: Tensor) -> bool:
        provenance = self.provenance
        return provenance.has_origin(tensor) or provenance.support.has(tensor) or provenance.is_mask(tensor)

    def _with_copies(self, arguments: dict[str, Any], written: list[Tensor]) -> dict[str, Any]:
        # A rule needs the operands as they were before an in-place operation overwrote them.
        copies = {}
        for tensor in written:
            copy = tensor.clone()
            self.provenance.ids.write(copy, self.provenance.ids.read(tensor))
            self.provenance.origin.write(copy, self.provenance.origins(tensor))
            self.provenance.support.write(copy, self.provenance.support.read(tensor))
            copies[id(tensor)] = copy
        return {
            name: tree_map(lambda leaf: copies.get(id(leaf), leaf), value) if name != "out" else value
            for name, value in arguments.items()
        }

    def _follow(self, call: Call, operands: list[Tensor], outputs: list[Tensor]) -> None:
        ids = [self.provenance.ids.read(tensor) for tensor in tree_leaves(call.arguments) if call.tracked(tensor)]
        depends = any(bool(((entry >= 0) | (entry == OTHER_SAMPLE)).any()) for entry in ids)
        derived = any(bool((entry == DERIVED).any()) for entry in ids)
        if any(bool((entry == OPAQUE).any()) for entry in ids):
            raise unsupported(
                call,
                "expected operands that a rule describes, got a by-product such as the mean of a layer norm in",
            )
        if not outputs:
            self.input_dependent = self.input_dependent or depends or derived
        elif not depends or _is_discrete(call, outputs):
            code = DERIVED if depends or derived else CONSTANT
            for tensor in outputs:
                self.provenance.ids.write(tensor, torch.tensor(code))
        else:
            self._apply(call, outputs)

    def _apply(self, call: Call, outputs: list[Tensor]) -> None:
        found = find_rule(call.func)
        if found is not None:
            ids = found(call)
        elif self.settings.unknown == "dense":
            ids = fully_connected(call, outputs)
        else:
            raise unsupported(call)
        entries = [ids] if isinstance(ids, Tensor) else list(ids or ())
        if len(entries) != len(outputs):
            raise ShapeError(
                f"expected the rule of {call.name} to return ids for {len(outputs)} results, got {len(entries)}; "
                "return a tensor, or a tuple with one entry per result"
            )
        for tensor, entry in zip(outputs, entries, strict=True):
            if entry is None:
                continue
            if entry.shape != tensor.shape:
                raise ShapeError(
                    f"expected the rule of {call.name} to return ids of shape {tuple(tensor.shape)}, the shape of the "
                    f"result, got {tuple(entry.shape)}; return one id per element"
                )
            self.provenance.ids.write(tensor, entry)

    def _follow_constant(self, call: Call, outputs: list[Tensor], overwrites: bool) -> None:
        found = find_constant_rule(call.func)
        if overwrites:
            for tensor in outputs:
                self.provenance.origin.write(tensor, torch.tensor(-1))
                self.provenance.support.write(tensor, torch.tensor(-1))
        if found is not None:
            found(call)
        else:
            self.provenance.use(*tree_leaves(call.arguments))

    def mixes(self, call: Call) -> UnsupportedOperationError:
        """Return the error for an operation whose result depends on more than one sample."""
        return unsupported(
            call,
            f"expected every result to depend on one sample only (batch_dim={self.settings.batch_dim}; the trace runs "
            "two copies of the first one), got an operation that mixes samples; if the whole input is one sample pass "
            "batch_dim=None:",
        )


def _bind(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    bound = {}
    for index, argument in enumerate(func._schema.arguments):
        if index < len(args):
            bound[argument.name] = args[index]
        elif argument.name in kwargs:
            bound[argument.name] = kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value
    return bound


def _written(func: Any, arguments: dict[str, Any]) -> Iterator[Tensor]:
    for argument in func._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from (leaf for leaf in tree_leaves(arguments[argument.name]) if isinstance(leaf, Tensor))


def is_view(result: Any, operands: list[Tensor]) -> bool:
    """Return whether all results look at storages of operands: then their entries are there already."""
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    if not outputs or any(tensor.layout != torch.strided for tensor in outputs):
        return False
    keys = {storage_key(tensor) for tensor in operands if tensor.layout == torch.strided}
    return all(storage_key(tensor) in keys for tensor in outputs)


def _is_discrete(call: Call, outputs: list[Tensor]) -> bool:
    """Return whether no result has a derivative: booleans, or integers made from numbers that are not."""
    if any(_is_continuous(tensor) for tensor in outputs):
        return False
    sources = [leaf for leaf in tree_leaves(call.arguments) if call.tracked(leaf)]
    return all(tensor.dtype == torch.bool for tensor in outputs) or any(_is_continuous(tensor) for tensor in sources)


def _is_continuous(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
