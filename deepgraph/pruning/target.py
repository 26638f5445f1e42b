"""What is pruned: the edge sets of a model, or the edges of a graph, in pools that are ranked together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, UnsupportedOperationError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.history import next_transaction
from deepgraph.pruning.criterion import Criterion, Sample, Scores
from deepgraph.sparse.ranking import split_rows
from deepgraph.sparse.sparsify import sparsify
from deepgraph.sparse.values import edge_values

__all__ = ["Pool", "Target", "target_of"]

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Units that are ranked together.

    Parameters
    ----------
    scores : (U,) float64
        The lowest go first.
    edges : (U,) int64
        Edges of each unit.
    admissible : int
        Pairs that could be edges.
    """

    scores: Scores
    edges: Index
    admissible: int


class Target(ABC):
    """What is pruned."""

    @abstractmethod
    def pools(self, criterion: Any, sample: Sample) -> list[Pool]:
        """Return the pools with their scores as of now."""

    @abstractmethod
    def drop(self, units: Sequence[Index], criterion: Any) -> None:
        """Drop units of each pool, by their rows in what `pools` returned last; the criterion prepares the others."""


def target_of(model_or_graph: Any, scope: str) -> Target:
    """Return the target that a model or a graph is; DtypeError for anything else."""
    if isinstance(model_or_graph, CachedLayeredGraph):
        return GraphTarget(model_or_graph, scope)
    if isinstance(model_or_graph, nn.Module):
        return ModelTarget(model_or_graph, scope)
    raise DtypeError(
        f"expected an nn.Module or a CachedLayeredGraph, got {type(model_or_graph).__name__}; make a graph with "
        "CachedLayeredGraph(g)"
    )


def checked(scores: Any, count: int, name: str) -> Scores:
    """Return scores as (count,) float64; ShapeError or ArgumentError if there are not as many, or one is NaN."""
    if isinstance(scores, torch.Tensor):
        scores = scores.detach().cpu().double().numpy()
    found = np.asarray(scores, np.float64)
    if found.shape != (count,):
        raise ShapeError(f"criterion: expected one score for each of {count} edges of {name}, got shape {found.shape}")
    if np.isnan(found).any():
        raise ArgumentError(f"criterion: expected scores that are numbers, got NaN for an edge of {name}")
    return found


class ModelTarget(Target):
    """The edge sets of a model; one without any gets dense ones.

    Parameters
    ----------
    model : nn.Module
    scope : {"global", "layer"}
    """

    def __init__(self, model: nn.Module, scope: str) -> None:
        self.model = model
        self.values = edge_values(model) or edge_values(sparsify(model, 1.0, seed=0))
        if any(one.parameter.is_meta for one in self.values):
            raise UnsupportedOperationError(
                "model: expected weights, got a model on the device meta, which has none; call "
                "model.to_empty(device='cpu') and load a state first"
            )
        count = len(self.values)
        self.members = [list(range(count))] if scope == "global" else [[index] for index in range(count)]

    def pools(self, criterion: Any, sample: Sample) -> list[Pool]:
        """Return one pool, or one for each edge set; a unit is an edge."""
        if isinstance(criterion, Criterion):
            raw = criterion.scores(self.model, self.values, sample)
        else:
            raw = [criterion(one) for one in self.values]
        sets = [one.edge_set for one in self.values]
        scores = [checked(score, edges.num_edges, edges.name) for score, edges in zip(raw, sets, strict=True)]
        return [
            Pool(
                np.concatenate([scores[index] for index in members]),
                np.ones(sum(sets[index].num_edges for index in members), np.int64),
                sum(sets[index].num_admissible for index in members),
            )
            for members in self.members
        ]

    def drop(self, units: Sequence[Index], criterion: Any) -> None:
        """Drop edges in all sets as one transaction, after the criterion has prepared those that stay."""
        transaction, prepared = next_transaction(), []
        rows_of: dict[Any, Index] = {}
        for members, rows in zip(self.members, units, strict=True):
            sets = [self.values[index].edge_set for index in members]
            for edges, own in zip(sets, split_rows(np.sort(rows), [e.num_edges for e in sets]), strict=True):
                if len(own):
                    src, dst = edges.pairs()
                    rows_of[edges] = own
                    prepared.append(edges.prepare((src[own], dst[own]), reason="prune", transaction=transaction))
        for one in self.values if isinstance(criterion, Criterion) else ():
            if one.edge_set in rows_of:
                criterion.settle(one, rows_of[one.edge_set])
        for edit in prepared:
            edit.commit()


class GraphTarget(Target):
    """The edges of a graph; those of one parameter entry are one unit.

    Parameters
    ----------
    graph : CachedLayeredGraph
    scope : {"global", "layer"}
    """

    def __init__(self, graph: CachedLayeredGraph, scope: str) -> None:
        self.graph, self.scope = graph, scope
        self._edges_of: list[tuple[Index, Index]] = []

    def pools(self, criterion: Any, sample: Sample) -> list[Pool]:
        """Return one pool, or one for each stage that edges run into; a unit scores the mean of its edges."""
        graph, stage = self.graph, self.graph.stage_array()
        _, dst = graph.edge_arrays()
        if isinstance(criterion, Criterion):
            raw = criterion.graph_scores(np.asarray(graph.column("weight")), sample)
        else:
            raw = criterion(graph)
        scores = checked(raw, len(dst), "the graph")
        unit, first = self._units(len(dst))
        sizes = np.bincount(unit, minlength=len(first))
        means = np.bincount(unit, scores, minlength=len(first)) / np.maximum(sizes, 1)
        # A unit belongs to the stage of its first edge.
        at = np.zeros(len(first), np.int64) if self.scope == "global" else stage[dst[first]].astype(np.int64)
        self._edges_of, pools = [], []
        for level in np.unique(at):
            mine = np.flatnonzero(at == level)
            self._edges_of.append((unit, mine))
            pools.append(
                Pool(means[mine], sizes[mine], self._admissible(None if self.scope == "global" else int(level)))
            )
        return pools

    def _units(self, count: int) -> tuple[Index, Index]:
        """Return the unit (E,) of each edge and the first edge (U,) of each unit."""
        graph = self.graph
        if not (graph.has_column("parameter") and graph.has_column("entry")):
            return np.arange(count), np.arange(count)
        parameter = graph.column("parameter", -1).astype(np.int64)
        entry = graph.column("entry", -1).astype(np.int64)
        alone = (parameter < 0) | (entry < 0)
        keys = np.stack([np.where(alone, -1, parameter), np.where(alone, np.arange(count), entry)])
        _, first, unit = np.unique(keys, axis=1, return_index=True, return_inverse=True)
        return unit.reshape(-1).astype(np.int64), first.astype(np.int64)

    def _admissible(self, level: int | None) -> int:
        """Return the pairs that go up in stage, none into an input; those into one stage where it is given."""
        stage = self.graph.stage_array()
        below = np.concatenate([[0], np.cumsum(np.bincount(stage))])
        closed = np.zeros(len(stage), bool)
        closed[self.graph.input_positions()] = True
        targets = stage[~closed if level is None else ~closed & (stage == level)]
        return int(below[targets].sum())

    def drop(self, units: Sequence[Index], criterion: Any) -> None:
        """Drop the edges of the units in one edit."""
        src, dst = self.graph.edge_arrays()
        goes = np.zeros(len(src), bool)
        for (unit, mine), rows in zip(self._edges_of, units, strict=True):
            goes |= np.isin(unit, mine[rows])
        if goes.any():
            self.graph.edit(drop=(src[goes], dst[goes]), reason="prune")
