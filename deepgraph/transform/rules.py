"""The registry of tracing rules: what an operation does to the ids of its operands.

A rule gets a `Call` and returns the ids of the result (a tuple of them where there are several results). It reads like
the operation's definition: data movement is the operation itself on ids, the rest goes through `neurons`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from torch import Tensor
from torch.utils._pytree import tree_map

from deepgraph.errors import ArgumentError, UnsupportedOperationError

if TYPE_CHECKING:
    from deepgraph.transform.tracer import Tracer

__all__ = ["Call", "Rule", "constant_rule", "find_constant_rule", "find_rule", "rule", "unsupported"]

Ids: TypeAlias = Tensor | tuple[Tensor | None, ...] | list[Tensor] | None
Rule: TypeAlias = "Callable[[Call], Ids]"
R = TypeVar("R", bound=Callable[..., Any])

_rules: dict[str, Rule] = {}
_constant_rules: dict[str, Callable[[Call], None]] = {}


class Call:
    """One operation of a forward pass, as a rule sees it.

    Parameters
    ----------
    tracer : Tracer
        The trace that is running.
    func : torch._ops.OpOverload
        The operation.
    arguments : dict of str to object
        All arguments by the names of the operation's schema, defaults included; operands that the operation overwrites
        are copies from before.
    result : object
        What the operation returned.
    """

    def __init__(self, tracer: Tracer, func: Any, arguments: dict[str, Any], result: Any) -> None:
        self.tracer = tracer
        self.func = func
        self.arguments = arguments
        self.result = result

    @property
    def name(self) -> str:
        """Name of the operation, "aten::relu"."""
        return str(self.func._schema.name)

    def __getitem__(self, name: str) -> Any:
        """Return the argument of that name."""
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the argument of that name, or the default if the operation has none of that name or it is None."""
        value = self.arguments.get(name)
        return default if value is None else value

    def ids(self, tensor: Tensor) -> Tensor:
        """Return the node ids of a tensor's elements, int64 of its shape; negative ones as in `provenance`."""
        return self.tracer.provenance.ids.read(tensor)

    def tracked(self, value: Any) -> bool:
        """Return whether a value is a tensor that depends on the input."""
        return isinstance(value, Tensor) and self.tracer.provenance.tracked(value)

    def replay(self, table: Callable[[Tensor], Tensor], names: Sequence[str], **replaced: Any) -> Any:
        """Return what the operation does to entries of a table: rules of data movement are this.

        Parameters
        ----------
        table : callable
            Tensor -> entries (int64, of its shape); -1 stands for "nothing", which is also what padding brings in.
        names : sequence of str
            The arguments that carry data; each a tensor or a list of tensors.
        **replaced : object
            Arguments that take another value on entries, such as the value of a padding.
        """
        # Ids live on the CPU, wherever the model runs.
        arguments = tree_map(lambda x: x.cpu() if isinstance(x, Tensor) else x, self.arguments)
        for name in names:
            # One more, so that the zeros which an operation fills in mean "nothing".
            arguments[name] = tree_map(lambda x: table(x) + 1 if isinstance(x, Tensor) else x, self.arguments[name])
        arguments.update(replaced)
        try:
            moved = self.run(arguments)
        except (RuntimeError, NotImplementedError):
            # Some movements have no integer kernel; ids are exact in float64 up to 2^53.
            for name in names:
                arguments[name] = tree_map(lambda x: x.double() if isinstance(x, Tensor) else x, arguments[name])
            moved = self.run(arguments)
        return tree_map(lambda x: x.long() - 1 if isinstance(x, Tensor) else x, moved)

    def run(self, arguments: dict[str, Any]) -> Any:
        """Return what the operation gives for other arguments, named as in `arguments`."""
        positional, by_name = [], {}
        for argument in self.func._schema.arguments:
            if argument.kwarg_only:
                by_name[argument.name] = arguments[argument.name]
            else:
                positional.append(arguments[argument.name])
        return self.func(*positional, **by_name)


def rule(*names: str) -> Callable[[R], R]:
    """Return a decorator that makes a function the tracing rule of operations.

    Parameters
    ----------
    *names : str
        Operations such as "aten::relu" (also for its in-place form), or one overload, "aten::add.Tensor".
        A later rule replaces an earlier one.

    Raises
    ------
    ArgumentError
        If a name has no namespace.

    Examples
    --------
    >>> from deepgraph.transform import rule
    >>> @rule("mylibrary::reverse")
    ... def reverse(call):
    ...     return call.ids(call["x"]).flip(-1)
    """
    return _register(_rules, names)


def constant_rule(*names: str) -> Callable[[R], R]:
    """Return a decorator for a rule on operations without any activation: it passes on support and parameter entries.

    Parameters
    ----------
    *names : str
        As for `rule`.

    Raises
    ------
    ArgumentError
        If a name has no namespace.
    """
    return _register(_constant_rules, names)


def _register(registry: dict[str, Any], names: tuple[str, ...]) -> Callable[[R], R]:
    for name in names:
        if "::" not in name:
            raise ArgumentError(f'expected the name of an operation with its namespace, "aten::relu", got {name!r}')

    def decorate(function: R) -> R:
        registry.update(dict.fromkeys(names, function))
        return function

    return decorate


def find_rule(func: Any) -> Rule | None:
    """Return the rule of an operation: of the overload, of the operation, or of what it does in place."""
    found: Rule | None = _find(_rules, func)
    return found


def find_constant_rule(func: Any) -> Callable[[Call], None] | None:
    """Return the rule of an operation on constants."""
    found: Callable[[Call], None] | None = _find(_constant_rules, func)
    return found


def _find(registry: dict[str, Any], func: Any) -> Any:
    names = [func._schema.name]
    if func._schema.is_mutable and names[0].endswith("_"):
        names.append(names[0][:-1])
    for name in names:
        found = registry.get(f"{name}.{func._overloadname}", registry.get(name))
        if found is not None:
            return found
    return None


def unsupported(call: Call, reason: str = "") -> UnsupportedOperationError:
    """Return the error for an operation that cannot be traced, naming it, its place and its operands.

    Parameters
    ----------
    call : Call
        The operation.
    reason : str
        What is wrong with it; default: it has no rule.
    """
    where = call.tracer.where()
    operands = ", ".join(f"{name}: {_describe(value)}" for name, value in call.arguments.items())
    function = call.name.partition("::")[2].strip("_") or "operation"
    advice = (
        f"give it one,\n"
        f'    @deepgraph.transform.rule("{call.name}")\n'
        f"    def {function}(call): ...  # return the ids of the result\n"
        'or pass unknown="dense" to connect all of its operands with all of its result, marked approximate'
    )
    return UnsupportedOperationError(
        f"{reason or 'extract has no rule for'} {call.name} (overload {call.func._overloadname}) in {where}, called "
        f"with {operands}" + ("" if reason else f"; {advice}")
    )


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, list | tuple) and any(isinstance(entry, Tensor) for entry in value):
        return "[" + ", ".join(_describe(entry) for entry in value) + "]"
    return repr(value)
