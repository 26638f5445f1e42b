"""`apply_edits`: what was removed and changed in an extracted graph, written back into the model it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.sparse import edge_values
from deepgraph.transform.masks import Place, check_place, mask_entries, places_of
from deepgraph.transform.provenance import flat_values
from deepgraph.transform.traced import Array
from deepgraph.transform.writeback_nodes import Nodes

__all__ = ["apply_edits"]

_FIXED = -1
_SEVERAL = -2
_GROWN = -3
_ROUNDING = 1e-6


def apply_edits(model: nn.Module, graph: CachedLayeredGraph) -> nn.Module:
    """Return the model, changed in place so that it computes with the edges and weights of its edited graph.

    A parameter entry all of whose edges were removed becomes zero and is masked: training keeps it zero. A weight or a
    bias that was changed is written into its entry; behind a batch norm a bias is that of the norm if the layer has
    none. A changed activation replaces the activation module that applies it. Edge sets of our own modules are edited
    instead of masked. Tied weights are one parameter, so that all of their edges have to agree, and so do the biases of
    all positions of a channel. All is checked first: either everything is written, or nothing.

    Parameters
    ----------
    model : nn.Module
        The model that `extract` was called on, or a copy; it may have been written back to before.
    graph : CachedLayeredGraph
        Its graph of order 0, with edges removed, and weights, biases and activations changed.

    Raises
    ------
    ArgumentError
        If the graph was not extracted from a model with these parameters.
    EditRefusedError
        If the model cannot express an edit: one copy of a weight that several edges share (a convolution, a tied
        weight) was removed or changed alone, an edge was added, an edge without a parameter entry was removed or
        changed, a sum of several entries was changed, some of the biases that share an entry were changed alone, an
        activation is none of a module of its own, or a node was added; the message names it. Nothing was changed then.

    Examples
    --------
    >>> import torch
    >>> from deepgraph.transform import extract
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> graph = extract(model, torch.randn(1, 2))
    >>> graph.remove_edge(0, 2)
    >>> apply_edits(model, graph).weight[0, 0].item()
    0.0
    """
    parameters = _parameters(model, graph)
    edges = _Edges.of(graph, parameters)
    edges.check_counts()
    removed = np.flatnonzero((edges.before > 0) & (edges.now == 0))
    value = flat_values(parameters).numpy()
    changed, values = edges.changes(value)
    edges.check_used(np.concatenate([changed, removed]))
    value[changed], value[removed] = values, 0
    nodes = Nodes(graph, edges.name)
    shifted, biases = nodes.biases(value, np.concatenate([changed, removed, graph.graph["used_entries"]]))
    activations = nodes.activations(model)
    bent, slopes = nodes.slopes()
    changed, values = np.concatenate([changed, shifted, bent]), np.concatenate([values, biases, slopes])
    touched = [
        _Part.of(model, parameter, removed - start, changed - start, values)
        for parameter, start in zip(parameters, edges.starts.tolist(), strict=True)
    ]
    _refuse_pending(touched)
    for part in touched:
        part.write()
    for path, module in activations.items():
        owner, _, name = path.rpartition(".")
        setattr(model.get_submodule(owner), name, module)
    return model


def _parameters(model: nn.Module, graph: CachedLayeredGraph) -> list[Tensor]:
    """Return the parameters of the model in the order of the graph's list."""
    if graph.graph.get("order") != 0 or "entry_edges" not in graph.graph:
        raise ArgumentError(
            "expected a graph of order 0 from extract, got one without parameter entries; extract again"
        )
    present = dict(model.named_parameters())
    found: list[Tensor] = []
    for name in graph.graph["parameters"]:
        owner, dot, last = name.rpartition(".")
        forms = (name, f"{name}_orig", f"{owner}{dot}parametrizations.{last}.original")
        held = next((present[form] for form in forms if form in present), None)
        if held is None:
            raise ArgumentError(
                f"expected the model that the graph was extracted from, got one without the parameter {name!r}; pass "
                "that model, or extract again"
            )
        found.append(held)
    total = sum(parameter.numel() for parameter in found)
    if total != len(graph.graph["entry_edges"]):
        raise ArgumentError(
            f"expected the model that the graph was extracted from, with {len(graph.graph['entry_edges']):,} parameter "
            f"entries, got one with {total:,}; extract again"
        )
    return found


@dataclass(frozen=True)
class _Edges:
    """The edges of a graph against the parameter entries that they came from, counted over all parameters."""

    graph: CachedLayeredGraph
    starts: Array
    shapes: list[tuple[int, ...]]
    origin: Array
    before: Array
    now: Array
    merged: Array
    """Entries (S,) of the edges that are there and that are sums of several."""

    @classmethod
    def of(cls, graph: CachedLayeredGraph, parameters: list[Tensor]) -> _Edges:
        """Return the edges of a graph, to be compared with the parameters of its list."""
        sizes = [parameter.numel() for parameter in parameters]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        parameter = graph.column("parameter", _GROWN).astype(np.int64)
        entry = graph.column("entry", _GROWN).astype(np.int64)
        origin = np.where(parameter >= 0, starts[np.maximum(parameter, 0)] + entry, parameter)
        listed = graph.graph.get("merged_entries", {"edge": [], "parameter": [], "entry": []})
        there = np.isin(np.array(listed["edge"], dtype=np.int64), entry[parameter == _SEVERAL])
        merged = starts[np.array(listed["parameter"], dtype=np.int64)] + np.array(listed["entry"], dtype=np.int64)
        merged = merged[there]
        now = np.bincount(np.concatenate([origin[origin >= 0], merged]), minlength=starts[-1])
        shapes = [tuple(parameter.shape) for parameter in parameters]
        return cls(graph, starts[:-1], shapes, origin, graph.graph["entry_edges"], now, merged)

    def name(self, entry: int) -> str:
        """Return a parameter entry in words: conv.weight[0, 1, 2, 2]."""
        index = int(np.searchsorted(self.starts, entry, side="right")) - 1
        # Parameters without entries share their start with the next.
        place = np.unravel_index(entry - int(self.starts[index]), self.shapes[index])
        return f"{self.graph.graph['parameters'][index]}[{', '.join(str(int(i)) for i in place)}]"

    def edge(self, index: int) -> str:
        """Return an edge in words."""
        src, dst = self.graph.edge_arrays()
        u, v = self.graph.labels([int(src[index]), int(dst[index])])
        return f"({u!r}, {v!r})"

    def check_counts(self) -> None:
        """Raise if edges were added, or removed in a way that the entries cannot express."""
        grown = np.flatnonzero(self.origin == _GROWN)
        if len(grown):
            raise EditRefusedError(
                f"expected edges of the model only, got {len(grown):,} that were added, first {self.edge(grown[0])}, "
                "for which the model has no parameter entry; compile the graph instead: MaskedDeepDAN.from_graph"
            )
        self._check_fixed()
        split = np.flatnonzero((self.now != self.before) & (self.now > 0))
        if len(split):
            entry = int(split[0])
            raise EditRefusedError(
                f"expected all or none of the {self.before[entry]} edges of {self.name(entry)}, got {self.now[entry]}: "
                f"they share one parameter entry, as do those of {len(split) - 1:,} more; remove all edges of an entry "
                "(deepgraph.prune counts them as one)"
            )

    def _check_fixed(self) -> None:
        weight, before = self.graph.column("weight"), self.graph.graph["fixed_weights"]
        fixed = np.flatnonzero(self.origin == _FIXED)
        if len(fixed) != len(before):
            raise EditRefusedError(
                f"expected all {len(before):,} edges without a parameter entry (of pools, residual sums, products with "
                f"constants), got {len(fixed):,}: the model cannot leave one out; keep them"
            )
        several = np.flatnonzero(self.origin == _SEVERAL)
        number = self.graph.column("entry", _GROWN)[several]
        for edges, expected, what in (
            (fixed, before, "without a parameter entry"),
            (several, self.graph.graph["merged_weights"][number], "which is the sum of several parameter entries"),
        ):
            other = edges[weight[edges] != expected]
            if len(other):
                edge, was = int(other[0]), expected[weight[edges] != expected][0]
                raise EditRefusedError(
                    f"expected the weight of edge {self.edge(edge)}, {what}, to stay {was:g}, got {weight[edge]:g} "
                    f"there and changes at {len(other) - 1:,} more: the model has no place to write it to"
                )

    def changes(self, value: Array) -> tuple[Array, Array]:
        """Return the entries (K,) whose edges have other weights than the model, and their new values (K,)."""
        mine = np.flatnonzero(self.origin >= 0)
        origin, weight = self.origin[mine], self.graph.column("weight")[mine].astype(np.float64)
        scale = self.graph.column("scale")[mine] if self.graph.has_column("scale") else np.ones(len(mine))
        unknown = scale == 0
        differs = ~np.isclose(weight, scale * value[origin], rtol=_ROUNDING, atol=0)
        if (differs & unknown).any():
            edge = int(mine[np.flatnonzero(differs & unknown)[0]])
            raise EditRefusedError(
                f"expected weight 0 at edge {self.edge(edge)}, whose factor on its parameter entry is not known, got "
                f"{self.graph.column('weight')[edge]:g}"
            )
        wanted = np.where(unknown, value[origin], np.divide(weight, scale, where=~unknown, out=np.zeros(len(mine))))
        least, most = np.full(len(value), np.inf), np.full(len(value), -np.inf)
        np.minimum.at(least, origin, wanted)
        np.maximum.at(most, origin, wanted)
        entries = np.unique(origin[differs])
        disagree = entries[most[entries] - least[entries] > 4 * _ROUNDING * np.abs(most[entries])]
        if len(disagree):
            entry = int(disagree[0])
            raise EditRefusedError(
                f"expected one value for the {self.before[entry]} edges of {self.name(entry)}, got values from "
                f"{least[entry]:g} to {most[entry]:g}: they share one parameter entry; change all of them"
            )
        self._check_sums(entries)
        first = np.full(len(value), len(mine), dtype=np.int64)
        np.minimum.at(first, origin[differs], np.flatnonzero(differs))
        return entries, wanted[first[entries]]

    def check_used(self, entries: Array) -> None:
        """Raise if entries are about to change that also act in a way that the graph does not show."""
        used = np.intersect1d(entries, self.graph.graph["used_entries"])
        if len(used):
            raise EditRefusedError(
                f"expected {self.name(int(used[0]))} to keep its value, got another there and at {len(used) - 1:,} "
                "more: the model also computes with it where it meets no activation, which is a constant of the graph"
            )

    def _check_sums(self, entries: Array) -> None:
        shared = np.intersect1d(entries, self.merged)
        if len(shared):
            raise EditRefusedError(
                f"expected {self.name(int(shared[0]))} to keep its value, got another: an edge that is the sum of "
                "several entries has it too, and keeps its weight"
            )


@dataclass(frozen=True)
class _Part:
    """What one parameter is about to get."""

    parameter: Tensor
    removed: Array
    changed: Array
    values: Array
    edges: Any
    places: list[Place]

    @classmethod
    def of(cls, model: nn.Module, parameter: Tensor, removed: Array, changed: Array, values: Array) -> _Part:
        """Return what a parameter gets, of entries counted from its own start."""
        size = parameter.numel()
        mine = (changed >= 0) & (changed < size)
        removed = removed[(removed >= 0) & (removed < size)]
        edges = next((held for held in edge_values(model) if held.parameter is parameter), None)
        changed, values = changed[mine], values[mine]
        touched = len(removed) + len(changed) > 0 and edges is None
        part = cls(parameter, removed, changed, values, edges, places_of(model, parameter) if touched else [])
        if part.places:
            new = parameter.detach().clone()
            part.put(new)
            for place in part.places:
                check_place(place, parameter, new, removed)
        return part

    def put(self, tensor: Tensor) -> None:
        """Write the new values and the zeros into a tensor like the parameter."""
        for entries, values in ((self.changed, self.values), (self.removed, np.zeros(len(self.removed)))):
            index = tuple(torch.from_numpy(axis) for axis in np.unravel_index(entries, tuple(tensor.shape)))
            tensor[index] = torch.from_numpy(values).to(tensor.device, tensor.dtype)

    def write(self) -> None:
        """Write to the model."""
        if not len(self.changed) and not len(self.removed):
            return
        self.put(self.parameter.data)
        if self.edges is not None and len(self.removed):
            src, dst = self.edges.edge_set.pairs()
            gone = np.isin(self.edges.index().cpu().numpy(), self.removed)
            self.edges.edge_set.edit(drop=(src[gone], dst[gone]), reason="apply_edits")
            return
        for place in self.places if len(self.removed) else ():
            mask_entries(place, self.removed)


def _refuse_pending(parts: list[_Part]) -> None:
    if any(part.edges is not None and len(part.removed) and part.edges.pending() for part in parts):
        raise EditRefusedError("expected no forward that waits for its backward, got one; call backward first")
