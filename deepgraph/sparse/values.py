"""`EdgeValues`: the weights of one edge set inside one `nn.Parameter`.

The parameter keeps its identity through every edit; what moves is the tensor in it. Storage `csr` keeps the values of
edges only, in canonical order, with room at the end; `masked` keeps a dense tensor that is zero off the mask.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, EditRefusedError, ShapeError, UnsupportedOperationError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit
from deepgraph.graph.row_moves import RowMoves
from deepgraph.sparse.following import checked_optimizer, forget_joint_memory
from deepgraph.sparse.tensor_rows import as_tensor, give, moved_rows, put

__all__ = ["HELD", "Addresses", "EdgeValues", "edge_values", "follow"]

HELD = "edge_weights"
"""Attribute of a module that was given edge sets by `sparsify`: holds the values of its weights."""


class Capturer(Protocol):
    """What computes with an edge set: knows whether a backward is pending, and can capture growth factors."""

    has_factors: bool
    """Whether `factors` are known, as opposed to the gradients of all pairs."""

    def pending(self) -> bool:
        """Return whether a forward waits for its backward."""

    def arm(self, on: bool) -> None:
        """Capture at the next backwards, or stop and forget."""

    def factors(self, values: EdgeValues) -> tuple[Tensor, Tensor]:
        """Return `(A (n_src, B), dZ (n_tgt, B))` of what was captured."""

    def captured(self, values: EdgeValues) -> tuple[Tensor, ...]:
        """Return these factors, or `(G (n_src, n_tgt),)` where the gradients of all pairs are known."""


class Addresses:
    """Where the pair (u, v) sits in a dense tensor: element `row[v] + column[u]`."""

    def __init__(self, row: Array, column: Array, shape: tuple[int, ...]) -> None:
        self.row, self.column, self.shape = row.astype(np.int64), column.astype(np.int64), shape

    def __call__(self, src: Array, dst: Array) -> Array:
        found: Array = self.row[dst] + self.column[src]
        return found


class EdgeValues:
    """Binds the column `weight` of an edge set to a parameter.

    Parameters
    ----------
    edge_set : EdgeSet
    parameter : nn.Parameter
        csr: (capacity,) with capacity >= E; masked: of `addresses.shape`.
    addresses : Addresses, optional
        Makes the storage `masked`.
    """

    def __init__(self, edge_set: EdgeSet, parameter: nn.Parameter, addresses: Addresses | None = None) -> None:
        self.edge_set, self.parameter, self.addresses = edge_set, parameter, addresses
        self.owner: Capturer | None = None
        self.optimizers: list[weakref.ref[Any]] = []
        self._index: tuple[int, Tensor] | None = None

    @property
    def storage(self) -> str:
        """ "csr" or "masked"."""
        return "csr" if self.addresses is None else "masked"

    @property
    def capacity(self) -> int:
        """Edges that fit without a new tensor."""
        return self.parameter.numel() if self.addresses is None else self.edge_set.num_admissible

    def index(self) -> Tensor:
        """Return the element (E,) of the flattened parameter that holds each canonical edge."""
        if self.addresses is None:
            return torch.arange(self.edge_set.num_edges, device=self.parameter.device)
        if self._index is None or self._index[0] != self.edge_set.version:
            flat = as_tensor(self.addresses(*self.edge_set.pairs()))
            self._index = self.edge_set.version, flat
        return self._index[1].to(self.parameter.device)

    def _flat(self) -> Tensor:
        return self.parameter.data.view(-1)

    def values(self) -> Tensor:
        """Return the weights (E,) in canonical order: a detached copy."""
        if self.addresses is None:
            return self._flat()[: self.edge_set.num_edges].clone()
        return self.parameter.detach().reshape(-1)[self.index()]

    def mask(self) -> Tensor:
        """Return which elements of the parameter, of its shape, hold an edge: bool."""
        flat = torch.zeros(self.parameter.numel(), dtype=torch.bool, device=self.parameter.device)
        flat[self.index()] = True
        return flat.view(self.parameter.shape)

    def set_values(self, values: Tensor) -> None:
        """Write the weights (E,) in canonical order; ShapeError if there are not E."""
        count = self.edge_set.num_edges
        if values.shape != (count,):
            raise ShapeError(f"{self.edge_set.name}: expected {count} weights, got shape {tuple(values.shape)}")
        values = values.detach().to(self.parameter)
        if self.addresses is None:
            self._flat()[:count] = values
        else:
            self._put(self.index(), values)

    def _put(self, index: Tensor, values: Tensor | float) -> None:
        """Write elements of a dense parameter, given by their places in row-major order."""
        put(self.parameter.data, index, values)

    def gradient(self) -> Tensor:
        """Return the gradient (E,) of the present edges, in canonical order.

        Raises
        ------
        EditRefusedError
            If the parameter has no gradient.
        """
        if self.parameter.grad is None:
            raise EditRefusedError(
                f"{self.edge_set.name}: expected a gradient, got none; call backward() before the optimizer's step()"
            )
        flat = self.parameter.grad.reshape(-1)
        return flat[: self.edge_set.num_edges].clone() if self.addresses is None else flat[self.index()]

    # -- BoundColumn ----------------------------------------------------------------------------------------------

    def read(self) -> Array:
        """Return the weights (E,) as an array, a view of the parameter where that is possible.

        Raises
        ------
        UnsupportedOperationError
            On the device meta, where there are none.
        """
        if self.parameter.is_meta:
            raise UnsupportedOperationError(
                f"{self.edge_set.name}: expected weights, got a module on the device meta, which has none; call "
                "model.to_empty(device='cpu') and load a state first"
            )
        if self.addresses is None and self.parameter.device.type == "cpu" and self.parameter.dtype != torch.bfloat16:
            found: Array = self._flat().numpy()[: self.edge_set.num_edges]
            return found
        values = self.values().cpu()
        return values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()

    def write(self, rows: Array | slice, values: Array) -> None:
        """Store weights at canonical rows.

        Raises
        ------
        EditRefusedError
            Between a forward and its backward.
        ArgumentError
            If a weight is not finite.
        """
        values = np.asarray(values)
        if not np.isfinite(values).all():
            raise ArgumentError(
                f"{self.edge_set.name}: expected finite weights, got NaN or infinity; nothing was changed"
            )
        self.check_idle("set weights")
        at = self.index()[torch.as_tensor(rows) if not isinstance(rows, slice) else rows]
        new = torch.as_tensor(np.array(values)).to(self.parameter)
        if self.addresses is None:
            self._flat()[at] = new
        else:
            self._put(at, new)

    def follow(self, edit: EdgeEdit, moves: RowMoves, grown: Array) -> None:
        """Move values, gradient and optimizer state along an edit; grown edges take `grown` and zero state."""
        # Zeros are there already: most algorithms grow no others.
        new = torch.as_tensor(np.array(grown)).to(self.parameter) if np.any(grown) else None
        old_shape, gradient = self.parameter.shape, self.parameter.grad
        if self.addresses is None:
            self._follow_values(edit, moves, new)
        else:
            self._follow_dense(edit, new)
        self._index = None
        forget_joint_memory(self.followers())
        for optimizer in self._alive():
            optimizer.state[self.parameter] = {
                key: self._moved(entry, edit, moves, old_shape)
                for key, entry in optimizer.state[self.parameter].items()
            }
        if gradient is not None:
            self.parameter.grad = self._moved(gradient, edit, moves, old_shape)

    def _follow_values(self, edit: EdgeEdit, moves: RowMoves, grown: Tensor | None) -> None:
        data = self.parameter.data
        room = data.numel()
        if edit.num_after > room:
            # An eighth more than needed, so that edges added one at a time do not copy everything each time.
            room = edit.num_after + (edit.num_after - room) // 8
        fresh = moved_rows(data, moves, room)
        if grown is not None:
            fresh[as_tensor(edit.grown_rows).to(data.device)] = grown
        if room == data.numel():
            data.copy_(fresh)
        else:
            give(self.parameter, fresh)

    def _follow_dense(self, edit: EdgeEdit, grown: Tensor | None) -> None:
        dropped, new = self._dense_rows(edit)
        self._put(dropped, 0.0)
        self._put(new, 0.0 if grown is None else grown)

    def _dense_rows(self, edit: EdgeEdit) -> tuple[Tensor, Tensor]:
        if self.addresses is None:
            raise EditRefusedError(f"{self.edge_set.name}: csr storage has no dense addresses")
        dropped, grown = (as_tensor(self.addresses(*pairs)) for pairs in (edit.dropped, edit.grown))
        return dropped.to(self.parameter.device), grown.to(self.parameter.device)

    def _moved(self, entry: Any, edit: EdgeEdit, moves: RowMoves, old_shape: torch.Size) -> Any:
        if not isinstance(entry, Tensor) or entry.shape != old_shape:
            return entry
        if self.addresses is None:
            fresh = moved_rows(entry, moves, self.parameter.numel())
            return entry.copy_(fresh) if fresh.shape == entry.shape else fresh
        for rows in self._dense_rows(edit):
            put(entry, rows, 0.0)
        return entry

    # -- optimizers and growth --------------------------------------------------------------------------------------

    def followed_by(self, optimizer: Any) -> None:
        """Let the state of `optimizer` follow the edits from now on; it is held weakly."""
        if all(ref() is not optimizer for ref in self.optimizers):
            self.optimizers.append(weakref.ref(optimizer))

    def followers(self) -> list[Any]:
        """Return the optimizers that follow the edits and are alive."""
        return [found for ref in self.optimizers if (found := ref()) is not None]

    def _alive(self) -> list[Any]:
        found = [(ref, ref()) for ref in self.optimizers]
        self.optimizers = [ref for ref, optimizer in found if optimizer is not None]
        return [o for _, o in found if o is not None and self.parameter in o.state]

    def reserve(self, edges: int) -> None:
        """Make room for `edges` edges, so that the parameter keeps its length while a schedule adds edges."""
        if self.addresses is None and edges > self.parameter.numel():
            self.check_idle("make room")
            old = self.parameter.shape
            nothing = EdgeEdit(
                dropped=(np.empty(0, np.int32), np.empty(0, np.int32)),
                grown=(np.empty(0, np.int32), np.empty(0, np.int32)),
                dropped_rows=np.empty(0, np.int64),
                grown_rows=np.empty(0, np.int64),
                num_before=self.edge_set.num_edges,
            )
            same = nothing.moves()
            give(self.parameter, moved_rows(self.parameter.data, same, edges))
            for optimizer in self._alive():
                state = optimizer.state[self.parameter]
                optimizer.state[self.parameter] = {k: self._moved(e, nothing, same, old) for k, e in state.items()}

    def compact(self) -> None:
        """Give the room at the end back; optimizer state of the parameter is moved along."""
        if self.addresses is None and self.parameter.numel() > self.edge_set.num_edges:
            self.check_idle("give room back")
            count, old = self.edge_set.num_edges, self.parameter.shape
            give(self.parameter, self.parameter.data[:count].clone())
            for optimizer in self._alive():
                state = optimizer.state[self.parameter]
                for key, entry in state.items():
                    if isinstance(entry, Tensor) and entry.shape == old:
                        state[key] = entry[:count].clone()

    def readdress(self, addresses: Addresses) -> None:
        """Take other places of the pairs in the dense tensor; moving the entries is the caller's part."""
        self.addresses, self._index = addresses, None

    def resize(self, capacity: int) -> None:
        """Give the parameter room for exactly `capacity` edges, at least for those that there are."""
        if self.addresses is None and self.parameter.numel() != capacity:
            self.compact()
            self.reserve(capacity)

    def pending(self) -> bool:
        """Return whether a forward waits for its backward, during which edits are refused."""
        return self.owner is not None and self.owner.pending()

    def check_idle(self, what: str) -> None:
        """Raise EditRefusedError between a forward and its backward."""
        if self.pending():
            raise EditRefusedError(
                f"{self.edge_set.name}: cannot {what} between a forward and its backward; call backward() first, "
                "delete the output, or evaluate under torch.no_grad(); nothing was changed"
            )

    def edit_check(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Refuse an edit while a backward is pending, or with weights that are not finite."""
        self.check_idle("edit edges")

    def edit_done(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Nothing is left to do: `follow` moved the values."""

    def arm(self, on: bool = True) -> None:
        """Let the next backwards capture what the gradients of absent edges are made of."""
        if self.owner is not None:
            self.owner.arm(on)

    def disarm(self) -> None:
        """Stop capturing and forget what was captured."""
        self.arm(False)

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return `(A (n_src, B), dZ (n_tgt, B))` of the captured backwards, joined along the batch.

        The gradient of any pair (u, v), edge or not, is `(A[u] * dZ[v]).sum()`.

        Raises
        ------
        EditRefusedError
            If nothing was captured.
        """
        if self.owner is None:
            raise EditRefusedError(
                f"{self.edge_set.name}: expected a module that computes with this edge set, got none"
            )
        return self.owner.factors(self)

    @property
    def has_factors(self) -> bool:
        """Whether gradients of absent pairs are captured as `factors()`, and not as a matrix of all pairs."""
        return self.owner is None or self.owner.has_factors

    def captured(self) -> tuple[Tensor, ...]:
        """Return what the captured backwards say about the gradients of all pairs: `factors()`, or a matrix of them.

        Raises
        ------
        EditRefusedError
            If nothing was captured.
        """
        return self.factors() if self.owner is None else self.owner.captured(self)

    def __getstate__(self) -> dict[str, Any]:
        # Weak references cannot be pickled, and a copy has optimizers of its own.
        return {**self.__dict__, "optimizers": []}

    def __repr__(self) -> str:
        return f"EdgeValues({self.edge_set!r}, storage={self.storage!r}, capacity={self.capacity})"


def edge_values(model: nn.Module) -> list[EdgeValues]:
    """Return the edge values of a model and of all its submodules, in the order of its modules.

    Examples
    --------
    >>> import deepgraph as dg
    >>> [v.edge_set.num_edges for v in edge_values(dg.MaskedDeepFFN(4, 2, [3], density=0.5, seed=0))]
    [6, 3]
    """
    found: dict[int, EdgeValues] = {}
    for module in model.modules():
        values = getattr(module, "edges", None)
        if isinstance(values, EdgeValues):
            found.setdefault(id(values), values)
        held = module.__dict__.get(HELD)
        for values in held.of(module) if held is not None else ():
            found.setdefault(id(values), values)
    return list(found.values())


def follow(model: nn.Module, optimizer: Any) -> None:
    """Let an optimizer's state follow the edits of a model's edges: kept edges keep theirs, grown edges start at zero.

    Rewirers do this themselves. The optimizer is held weakly.

    Parameters
    ----------
    model : nn.Module
    optimizer : torch.optim.Optimizer

    Raises
    ------
    ArgumentError
        If the model has no edge sets.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(4, 2, [3], density=0.5, seed=0)
    >>> follow(model, torch.optim.Adam(model.parameters()))
    """
    values = edge_values(model)
    if not values:
        raise ArgumentError(
            f"expected a model with edge sets, got {type(model).__name__} without any; "
            "build one with MaskedDeepFFN, MaskedDeepDAN or sparsify"
        )
    for one in values:
        one.followed_by(checked_optimizer(optimizer))
