"""Order 2: a node per call of a module without children, and per operation outside of such calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from deepgraph.errors import ArgumentError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.transform.graphs import roles
from deepgraph.transform.provenance import Table
from deepgraph.transform.sample import take_sample
from deepgraph.transform.sandbox import Mode, Sandbox, module_stack
from deepgraph.transform.tracer import is_view

__all__ = ["module_graph"]


def module_graph(
    model: Callable[..., Any],
    inputs: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    batch_dim: int | None,
) -> CachedLayeredGraph:
    """Return the graph of module calls: the input tensors, then calls and operations as they ran.

    Every operation is allowed here: a call depends on all tensors that it reads. Node columns: role, stage, module
    (path), operation (class of the module, or name of the operation).

    Parameters
    ----------
    model : callable
        An nn.Module, or a function of tensors.
    inputs, kwargs : tuple, mapping
        Its arguments; the first sample is used.
    batch_dim : int or None
        The dimension of the samples.

    Raises
    ------
    ArgumentError
        If the inputs hold no tensor, or the model returns none.
    """
    sample = take_sample(inputs, dict(kwargs or {}), batch_dim, copies=1)
    with Sandbox(model) as sandbox, module_stack(model) as stack:
        tracer = CallTracer(sandbox, stack)
        for tensor in sample.tensors:
            tracer.table.write(tensor, torch.tensor(tracer.add_node("", "input")))
        with tracer:
            returned = model(*sample.args, **sample.kwargs)
        results = [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]
        if not results:
            raise ArgumentError(f"expected the model to return a tensor, got {type(returned).__name__}; return tensors")
        shown = np.concatenate([np.unique(tracer.table.read(tensor).numpy()) for tensor in results])
    src, dst = np.array(sorted(tracer.edges), dtype=np.int64).reshape(-1, 2).T
    graph = CachedLayeredGraph.from_arrays(src, dst, len(tracer.modules))
    outputs = shown[shown >= 0]
    graph.set_node_column("role", roles(len(graph), np.arange(len(sample.tensors)), outputs))
    graph.set_node_column("stage", graph.layer_array())
    graph.set_node_column("module", np.array(tracer.modules))
    graph.set_node_column("operation", np.array(tracer.operations))
    graph.graph.update(inputs=list(range(len(sample.tensors))), outputs=outputs.tolist(), order=2, exact=False)
    return graph


class CallTracer(Mode):  # type: ignore[no-untyped-call]
    """Gives every tensor the id of the call or operation that wrote it.

    Parameters
    ----------
    sandbox : Sandbox
        Told of writes to the model's own tensors.
    stack : sequence of (path, module, call)
        The module calls that are running, innermost last.
    """

    def __init__(self, sandbox: Sandbox, stack: Sequence[tuple[str, nn.Module, int]]) -> None:
        super().__init__()
        self.table = Table(-1)
        self.modules: list[str] = []
        self.operations: list[str] = []
        self.edges: set[tuple[int, int]] = set()
        self._calls: dict[int, int] = {}
        self._sandbox = sandbox
        self._stack = stack

    def add_node(self, module: str, operation: str) -> int:
        """Return the id of a new node.

        Parameters
        ----------
        module : str
            Path of the module.
        operation : str
            What it is.
        """
        self.modules.append(module)
        self.operations.append(operation)
        return len(self.modules) - 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and connect its node with those that it reads."""
        kwargs = kwargs or {}
        operands = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func._schema.is_mutable:
            for tensor in operands:
                self._sandbox.save_before_write(tensor)
        read = [self.table.read(tensor) for tensor in operands if self.table.has(tensor)]
        result = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if read and outputs and (func._schema.is_mutable or not is_view(result, operands)):
            sources = np.unique(torch.cat([entries.reshape(-1) for entries in read]).numpy()).tolist()
            node = self._node(func)
            self.edges.update((source, node) for source in sources if source >= 0 and source != node)
            for tensor in outputs:
                if tensor.layout == torch.strided:
                    self.table.write(tensor, torch.tensor(node))
        return result

    def _node(self, func: Any) -> int:
        path, module, call = self._stack[-1] if self._stack else ("", None, -1)
        if module is None or next(module.children(), None) is not None:
            return self.add_node(path, str(func._schema.name))
        if call not in self._calls:
            self._calls[call] = self.add_node(path, type(module).__name__)
        return self._calls[call]
