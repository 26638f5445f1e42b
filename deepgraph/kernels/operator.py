"""The custom operator `deepgraph::graph`: a whole network as one call that autograd and torch.compile understand.

A `Program` is what the integer handle of a call stands for: the topology as it is now and the kernel that computes it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.kernels.base import Kernel
from deepgraph.kernels.facts import describe
from deepgraph.kernels.masked import MaskedStages
from deepgraph.kernels.numba_walk import NumbaWalk
from deepgraph.kernels.opaque import OpaqueOperator, Rules
from deepgraph.kernels.passes import Passes
from deepgraph.kernels.plan import Plan, make_plan
from deepgraph.kernels.topology import Topology
from deepgraph.kernels.torch_walk import TorchWalk

__all__ = ["Program", "graph_operator", "make_kernel", "program", "register"]


class Owner(Protocol):
    """What a handle stands for: something that has a program, which may be another one at each call."""

    def program(self) -> Program:
        """Return the program of the present edges."""


# Handles begin at random: one that an exported program brings from another process stands for nothing here.
_handles = itertools.count(int.from_bytes(os.urandom(5), "big") << 22)
_owners: WeakValueDictionary[int, Owner] = WeakValueDictionary()


def register(owner: Owner) -> int:
    """Return a new handle for whoever owns a program; it is held weakly and asked for its program at each call.

    A compiled graph keeps the handle as a constant: edits that replace the program reach it through the owner.
    """
    handle = next(_handles)
    _owners[handle] = owner
    return handle


class Program(Passes):
    """What `torch.ops.deepgraph.graph` runs for a handle: one topology, its kernel and the plan that chose it.

    The registry of handles holds programs weakly: whoever owns the network keeps its program alive.

    Parameters
    ----------
    topology : Topology
        What to compute.
    storage : {"auto", "csr", "coo", "masked", "dense"}
        How weights are held.
    layout : {"flat", "layers"}, optional
        Of masked weights; default "layers" where the network is layered.
    dtype : torch.dtype
        Of x, weights and bias.
    device : torch.device or str
        Of x, weights and bias.

    Raises
    ------
    ArgumentError, TooLargeError, StructureError, UnsupportedOperationError
        If the storage or the layout does not fit the topology.

    Attributes
    ----------
    plan : Plan
        Which storage and kernel, and why.
    version : int
        Number of times the topology was replaced.
    armed : bool
        While True each backward pass appends (A (N, B), dZ (N, B)) by position to `captured`.
    captured : list of (Tensor, Tensor)
        Factors of the gradients of all pairs: dL/dw_uv = sum over the batch of A[u] * dZ[v].

    Examples
    --------
    >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 1])
    >>> network = Program(t, "csr")
    >>> network(torch.tensor([[2.0]]), [torch.tensor([3.0])], torch.tensor([1.0]))
    tensor([[7.]])
    """

    def __init__(
        self,
        topology: Topology,
        storage: str = "auto",
        layout: str | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.dtype, self.device = dtype, torch.device(device)
        self.plan = make_plan(
            describe(topology),
            storage,
            dtype=str(dtype).removeprefix("torch."),
            device=str(self.device),
            layout=layout,
        )
        self.kernel = make_kernel(topology, self.plan)
        super().__init__()
        self.armed = False
        self.captured: list[tuple[Tensor, Tensor]] = []
        self.handle = register(self)

    def program(self) -> Program:
        """Return this program: it is the owner of its handle."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is a program of its own: it gets its own handle and no pending passes.
        part = self.plan.parts[0]
        return (Program, (self.topology, part.storage, part.layout, self.dtype, self.device))

    def __call__(self, x: Tensor, weights: Sequence[Tensor], bias: Tensor) -> Tensor:
        """Return y (B, O) for x (B, I), with gradients for x, weights and bias (C,).

        Raises
        ------
        ShapeError, DtypeError
            If x, weights and bias do not fit the kernel.
        """
        y: Tensor = graph_operator(x, weights, bias, self.handle)[0]
        return y

    @property
    def topology(self) -> Topology:
        """Return the structure that is computed now."""
        return self.kernel.topology

    def replace_topology(self, topology: Topology, cause: str | None = "the graph was edited") -> None:
        """Compute edited edges between the same nodes from now on, with the same kind of kernel.

        Parameters
        ----------
        topology : Topology
            The edited structure.
        cause : str or None
            What happened, for the message of a backward pass that comes too late; None where `outdate` was told.

        Raises
        ------
        EditRefusedError
            If a forward pass waits for its backward; nothing changed.
        """
        if self.pending():
            raise EditRefusedError(
                "expected no edit between forward and backward, but a forward pass of this network still waits for its "
                "backward; call backward() first, or drop the result and its loss"
            )
        self.kernel = self.kernel.with_topology(topology)
        if cause is not None:
            self.outdate(cause)


def program(handle: int) -> Program:
    """Return the live program of a handle.

    Raises
    ------
    ArgumentError
        If no live program of this process has that handle.
    """
    found = _owners.get(handle)
    if found is None:
        raise ArgumentError(
            f"handle {handle} stands for no live program: its network was deleted, or it comes from another process; "
            "call the module instead of the operator"
        )
    return found.program()


def make_kernel(topology: Topology, plan: Plan) -> Kernel:
    """Return the kernel that the first part of a plan names.

    Raises
    ------
    MissingDependencyError, StructureError, TooLargeError, UnsupportedOperationError
        If the kernel cannot compute this topology here.

    Examples
    --------
    >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 1])
    >>> make_kernel(t, make_plan(describe(t), "masked")).name
    'MaskedStages'
    """
    part = plan.parts[0]
    if part.kernel == "MaskedStages":
        return MaskedStages(topology, "layers" if part.layout == "layers" else "flat", part.device)
    if part.kernel == "NumbaWalk":
        return NumbaWalk(topology)
    return TorchWalk(topology, part.device, products=part.storage != "coo")


def _forward(x: Tensor, weights: list[Tensor], bias: Tensor, handle: int) -> tuple[Tensor, Tensor]:
    live = program(handle)
    live.kernel.check_new(x, weights, bias)
    y, saved = live.kernel.forward(x, weights, bias)
    live.note(saved)
    return y, saved


def _forward_fake(x: Tensor, weights: list[Tensor], bias: Tensor, handle: int) -> tuple[Tensor, Tensor]:
    kernel = program(handle).kernel
    kernel.check(x, weights, bias)
    batch = x.shape[0]
    saved = x.new_empty(kernel.saved_shape(batch, x.dtype), dtype=kernel.saved_dtype(x.dtype))
    return x.new_empty(batch, kernel.topology.outputs.shape[0]), saved


def _backward(
    dy: Tensor, saved: Tensor, weights: list[Tensor], bias: Tensor, handle: int, need_dx: bool
) -> tuple[Tensor, list[Tensor], Tensor]:
    live = program(handle)
    live.consume(saved)
    kernel = live.kernel
    dx, dweights, dbias, dz = kernel.backward(dy, saved, weights, need_dx, bias, live.armed)
    if live.armed:
        batch = dy.shape[0]
        live.captured.append((kernel.activations(saved, batch), kernel.gradients(dz, batch)))
    return dy.new_empty(0) if dx is None else dx, dweights, dbias


def _backward_fake(
    dy: Tensor, saved: Tensor, weights: list[Tensor], bias: Tensor, handle: int, need_dx: bool
) -> tuple[Tensor, list[Tensor], Tensor]:
    width = program(handle).topology.inputs.shape[0]
    dx = dy.new_empty(dy.shape[0], width) if need_dx else dy.new_empty(0)
    return dx, [torch.empty_like(weight) for weight in weights], torch.empty_like(bias)


graph_operator = OpaqueOperator(
    Rules(
        "graph",
        "Tensor[] weights, Tensor bias",
        _forward,
        _forward_fake,
        _backward,
        _backward_fake,
        instead="for these, build the network from torch operations, e.g. from to_dense()",
        keeps_x=False,
    )
)
