"""`WeightValues`: edge sets bound to a weight of any PyTorch module, which stays the module's own dense parameter.

The parameter is zero off the edges. Its gradient is masked by a hook, so that no optimizer moves what is no edge, and
the hook sees the dense gradient first, which is what growing by gradient needs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import EditRefusedError, UnsupportedOperationError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.sparse.tensor_rows import as_tensor, put
from deepgraph.sparse.values import HELD, Addresses, EdgeValues

__all__ = ["GradientMask", "WeightEdges", "WeightValues"]


MARKED = "edges"
"""Key of a module's metadata in a state dict: zeros in its weights say what is an edge."""


class GradientMask:
    """A hook on a parameter: sets its gradient to zero off the edges and keeps the dense one while it is armed.

    Parameters
    ----------
    shape : tuple of int
        Shape of the parameter.

    Attributes
    ----------
    armed : bool
        Whether dense gradients are kept.
    dense : Tensor or None
        Sum of the dense gradients of the backwards since it was armed.
    """

    has_factors = False

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.parts: list[tuple[EdgeSet, Addresses]] = []
        self.armed = False
        self.dense: Tensor | None = None
        self._absent: tuple[list[int], Tensor] | None = None
        self._present: tuple[Tensor, Tensor] | None = None

    def absent(self, device: torch.device) -> Tensor:
        """Return which elements hold no edge: bool, of the parameter's shape."""
        versions = [edges.version for edges, _ in self.parts]
        if self._absent is None or self._absent[0] != versions or self._absent[1].device != device:
            size = math.prod(self.shape)
            whole = sum(edges.num_admissible for edges, _ in self.parts) == size
            flat = torch.full((size,), whole, device=device)
            for edges, addresses in self.parts:
                if not whole:
                    flat[torch.from_numpy(addresses.row[:, None] + addresses.column).to(device)] = True
                flat[as_tensor(addresses(*edges.pairs())).to(device)] = False
            self._absent = versions, flat.view(self.shape)
        return self._absent[1]

    def __call__(self, gradient: Tensor) -> Tensor:
        """Return the gradient with zeros off the edges, also where it is not finite there."""
        if self.armed:
            self.dense = gradient.detach() if self.dense is None else self.dense + gradient.detach()
        return self._masked(gradient)

    def _masked(self, gradient: Tensor) -> Tensor:
        absent = self.absent(gradient.device)
        if gradient.device.type == "cpu":
            # On a CPU a product takes a tenth of the time of masked_fill, but infinity times 0 is NaN.
            if self._present is None or self._present[0] is not absent or self._present[1].dtype != gradient.dtype:
                self._present = absent, (~absent).to(gradient.dtype)
            product = gradient * self._present[1]
            if bool(torch.isfinite(product.detach().sum())):
                return product
        return gradient.masked_fill(absent, 0)

    def pending(self) -> bool:
        """Return False: autograd itself refuses a backward after an edit, which counts as an in-place change."""
        return False

    def arm(self, on: bool) -> None:
        """Keep the dense gradients of the next backwards, or stop and forget them."""
        self.armed = on
        if not on:
            self.dense = None

    def factors(self, values: EdgeValues) -> tuple[Tensor, Tensor]:
        """Raise UnsupportedOperationError: a module of PyTorch has dense gradients and no factors."""
        raise UnsupportedOperationError(
            f"{values.edge_set.name}: expected a module of deepgraph for the factors of gradients, got a weight of a "
            "PyTorch module, which has dense ones; use captured()"
        )

    def captured(self, values: EdgeValues) -> tuple[Tensor, ...]:
        """Return what the values cut out of the dense gradient."""
        return values.captured()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_absent": None, "_present": None}


class WeightValues(EdgeValues):
    """Binds an edge set to a weight, or to some rows of it, of a PyTorch module.

    Parameters
    ----------
    edge_set : EdgeSet
        R sources, C targets.
    parameter : nn.Parameter
        The module's own.
    addresses : Addresses
        Where each pair sits in it.
    hook : GradientMask
        The hook of the parameter; several edge sets of one parameter share it.
    """

    def __init__(self, edge_set: EdgeSet, parameter: nn.Parameter, addresses: Addresses, hook: GradientMask) -> None:
        super().__init__(edge_set, parameter, addresses)
        self.hook, self._places = hook, addresses
        hook.parts.append((edge_set, addresses))
        self.owner = hook

    def _put(self, index: Tensor, values: Tensor | float) -> None:
        # Unlike `data`, a detached view shares the counter by which autograd notices in-place changes.
        put(self.parameter.detach(), index, values)

    def followed_by(self, optimizer: Any) -> None:
        """Let the state of `optimizer` follow the edits; what it holds off the edges is set to zero."""
        super().followed_by(optimizer)
        for entry in optimizer.state.get(self.parameter, {}).values():
            if isinstance(entry, Tensor) and entry.shape == self.parameter.shape:
                entry.masked_fill_(self.hook.absent(entry.device), 0)

    def captured(self) -> tuple[Tensor, ...]:
        """Return `(G (R, C),)`: the dense gradient of all pairs, summed over the captured backwards.

        Raises
        ------
        EditRefusedError
            If nothing was captured.
        """
        dense = self.hook.dense
        if dense is None:
            raise EditRefusedError(
                f"{self.edge_set.name}: expected captured gradients, got none; call arm(), then forward and backward"
            )
        row, column = self.places()
        sources, targets = len(column), len(row)
        flat = dense.reshape(-1)
        if np.array_equal(column, np.arange(sources)) and (np.diff(row) == sources).all():
            start = int(row[0]) if targets else 0
            return (flat[start : start + sources * targets].view(targets, sources).t(),)
        places = torch.from_numpy(column)[:, None] + torch.from_numpy(row)[None, :]
        return (flat[places.to(flat.device)],)

    def places(self) -> tuple[Array, Array]:
        """Return the two parts `(row (C,), column (R,))` of every pair's place: row[v] + column[u]."""
        return self._places.row, self._places.column


class WeightEdges:
    """The edge values of a module's weights; what `sparsify` leaves in the module's attribute `edge_weights`.

    Parameters
    ----------
    weights : dict of str to sequence of WeightValues
        By the name of the parameter, those that share it.
    """

    def __init__(self, weights: Mapping[str, list[WeightValues]]) -> None:
        self.weights = {name: list(values) for name, values in weights.items()}
        self._connect()

    def _connect(self) -> None:
        for values in self.weights.values():
            hook_gradient(values[0].parameter, values[0].hook)
            for one in values:
                one.edge_set.bind(one)
                one.edge_set.listen(one)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Neither hooks nor listeners are copied along with a parameter or an edge set.
        self.__dict__.update(state)
        self._connect()

    def of(self, module: nn.Module) -> list[WeightValues]:
        """Return the edge values, bound to the parameters that the module has now."""
        for name, values in self.weights.items():
            parameter = getattr(module, name)
            if values[0].parameter is not parameter:
                hook_gradient(parameter, values[0].hook)
                for one in values:
                    one.parameter = parameter
        return [one for values in self.weights.values() for one in values]

    def clear_absent(self, module: nn.Module) -> None:
        """Set what is no edge to zero in all weights."""
        self.of(module)
        with torch.no_grad():
            for values in self.weights.values():
                parameter = values[0].parameter
                parameter.masked_fill_(values[0].hook.absent(parameter.device), 0)

    # -- state_dict -------------------------------------------------------------------------------------------------

    def mark(self, name: str, weight: Tensor) -> Tensor:
        """Return a weight in which 0 means no edge, and -0 an edge of weight 0."""
        absent = self.weights[name][0].hook.absent(weight.device)
        zero = weight == 0
        if not bool((zero & (torch.signbit(weight) == absent)).any()):
            return weight
        return torch.where(zero, torch.where(absent, 0.0, -0.0).to(weight.dtype), weight)

    def adopt(self, name: str, weight: Tensor, marked: bool) -> None:
        """Take over the edges of a weight that `mark` returned; one without zeros makes all pairs edges.

        Warns
        -----
        UserWarning
            If it does and is not known to be `marked`: the state of a model that was never sparsified was loaded.
        """
        flat = ((weight != 0) | torch.signbit(weight)).reshape(-1).cpu().numpy()
        for one in self.weights[name]:
            edges = one.edge_set
            row, column = one.places()
            v, u = np.nonzero(flat[row[:, None] + column[None, :]])
            gone = ~flat[row[edges.pairs()[1]] + column[edges.pairs()[0]]]
            new = edges.find(u, v) < 0
            if gone.any() or new.any():
                src, dst = edges.pairs()
                edges.edit(drop=(src[gone], dst[gone]), grow=(u[new], v[new]), reason="load_state_dict")
                if edges.num_edges == edges.num_admissible and not marked:
                    warnings.warn(
                        f"{edges.name}: expected the state of a sparsified model, got a weight without zeros, so all "
                        "pairs are edges now; load the weights of a dense model first, then call sparsify",
                        UserWarning,
                        stacklevel=2,
                    )


def hook_gradient(parameter: nn.Parameter, hook: GradientMask) -> None:
    """Register a hook, also on a parameter that is frozen for now."""
    needed = parameter.requires_grad
    parameter.requires_grad_(True).register_hook(hook)  # type: ignore[no-untyped-call]
    parameter.requires_grad_(needed)


class SaveHook:
    """After `state_dict` of a module: marks the edges in its weights."""

    def __init__(self, edges: WeightEdges) -> None:
        self.edges = edges

    def __call__(self, module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
        """Replace the weights of the module in `state_dict`."""
        local_metadata[MARKED] = True
        for name in self.edges.weights:
            weight = state_dict.get(prefix + name)
            # With keep_vars=True the parameters themselves are asked for.
            if isinstance(weight, Tensor) and not isinstance(weight, nn.Parameter):
                state_dict[prefix + name] = self.edges.mark(name, weight)


class LoadHook:
    """Before `load_state_dict` of a module: adopts the edges of the weights that come."""

    def __init__(self, edges: WeightEdges) -> None:
        self.edges = edges

    def __call__(
        self, module: nn.Module, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        """Adopt edges; weights of another shape are left to torch's own message."""
        self.edges.of(module)
        for name, values in self.edges.weights.items():
            weight = state_dict.get(prefix + name)
            if isinstance(weight, Tensor) and weight.shape == values[0].parameter.shape:
                self.edges.adopt(name, weight, MARKED in local_metadata)


class LoadedHook:
    """After `load_state_dict` of a module: edges of weight 0 were marked by the sign of zero."""

    def __init__(self, edges: WeightEdges) -> None:
        self.edges = edges

    def __call__(self, module: nn.Module, incompatible_keys: Any) -> None:
        """Give every zero its usual sign."""
        self.edges.of(module)
        with torch.no_grad():
            for values in self.edges.weights.values():
                values[0].parameter.add_(0.0)


def hold(module: nn.Module, edges: WeightEdges) -> None:
    """Let a module keep the edge values of its weights, also through `state_dict` and `load_state_dict`."""
    setattr(module, HELD, edges)
    module.register_state_dict_post_hook(SaveHook(edges))  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(LoadHook(edges))  # type: ignore[no-untyped-call]
    module.register_load_state_dict_post_hook(LoadedHook(edges))  # type: ignore[no-untyped-call]
