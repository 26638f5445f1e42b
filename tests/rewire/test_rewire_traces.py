"""Conformance: from the state, gradients and draws of `traces/` every algorithm goes through the edges there."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import trace_reference as reference
from torch import Tensor, nn

import deepgraph.rewire
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.rewire import (
    CHT,
    DEEPR,
    GMP,
    MEST,
    SET,
    SNFS,
    CHTs,
    GraNet,
    Growth,
    Rewirer,
    RigL,
    SoftDEEPR,
    SRigL,
    Static,
)
from deepgraph.rewire.growth import Pairs
from deepgraph.sparse import EdgeValues, edge_values, sparsify

NAMES = sorted(reference.ALGORITHMS)


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((reference.FOLDER / f"{name}.json").read_text())
    return found


class Layers(nn.Module):
    """Weights whose gradients one gives: the loss is their sum of products with them."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*shape, bias=False) for shape in reference.SHAPES).double()
        sparsify(self, 0.5, seed=0)
        for values, matrix in zip(edge_values(self), given["weights"], strict=True):
            edges = values.edge_set
            edges.edit(drop=edges.pairs())
            pairs = [(u, v) for u, row in enumerate(matrix) for v, weight in enumerate(row) if weight is not None]
            u, v = np.array(pairs).T
            edges.edit(grow=(u, v), weight=np.array([matrix[u][v] for u, v in pairs]))
            edges.history = type(edges.history)()

    def forward(self, gradients: Any) -> Tensor:
        """Return the loss () whose gradients for the weights (R, C) are those given."""
        parts = [
            (layer.weight * torch.tensor(gradient, dtype=torch.float64).T).sum()
            for layer, gradient in zip(self.layers, gradients, strict=True)
        ]
        return torch.stack(parts).sum()


class Dealt(Growth):
    """Random growth by given numbers: the free pairs of the highest ones."""

    def __init__(self, draws: Sequence[Any]) -> None:
        self.draws = draws

    def choose(
        self, rewirer: Rewirer, values: Sequence[EdgeValues], free: Sequence[AbsentPairs], count: int
    ) -> list[Pairs]:
        (one,), (pairs,) = values, free
        u, v = pairs.take(np.arange(pairs.count))
        numbers = np.array(self.draws[rewirer.steps - 1][rewirer._position(one)])[u, v]
        best = np.argsort(-numbers)[:count]
        return [(u[best], v[best])]


def rewirer_of(name: str, model: Layers, given: dict[str, Any]) -> Rewirer:
    """Return the rewirer of a trace, which draws the numbers given there."""
    sgd = torch.optim.SGD(model.parameters(), lr=reference.LR)
    options: Any = {"every": reference.EVERY, "until": reference.UNTIL}
    dealt = Dealt(given["grow_draws"])
    if name in ("deepr", "softdeepr"):
        return walker_of(name, model, given, dealt)
    if name == "set":
        return SET(model, sgd, growth=dealt, **options)
    if name == "mest":
        return MEST(model, sgd, growth=dealt, **options)
    if name in ("gmp", "granet"):
        return {"gmp": GMP, "granet": GraNet}[name](model, sgd, density=0.1, **options)
    if name in ("cht", "chts"):
        linked = {"cht": CHT, "chts": CHTs}[name](model, sgd, **options)
        drops = iter(range(10**6))

        def numbers(values: EdgeValues, u: Any, v: Any) -> np.ndarray:
            # CHTs draws for all drops first, one edge set after the other, then for what is grown.
            of_drop = name == "chts" and next(drops) % (2 * len(reference.SHAPES)) < len(reference.SHAPES)
            draws = given["drop_draws" if of_drop else "grow_draws"][linked.steps - 1]
            return np.array(draws[linked._position(values)])[u, v]

        linked.random_numbers = numbers  # type: ignore[method-assign]
        return linked
    if name == "snfs":
        return SNFS(model, sgd, momentum=0.9, **options)
    return {"static": Static, "rigl": RigL, "srigl": SRigL}[name](model, sgd, **options)


def walker_of(name: str, model: Layers, given: dict[str, Any], dealt: Dealt) -> DEEPR:
    """Return DEEPR or SoftDEEPR with given noise, signs and start."""
    soft: Any = {"theta_min": -0.3} if name == "softdeepr" else {}
    walker = {"deepr": DEEPR, "softdeepr": SoftDEEPR}[name](model, reference.LR, 0.5, 0.02, seed=0, **soft)
    walker.growth = dealt
    hashed = walker.signs

    def normal(values: EdgeValues, shape: Any, dtype: Any) -> Tensor:
        # The walk of the edges comes before the step is counted, that of dormant pairs after it.
        index, step = walker._position(values), walker.steps - (len(shape) == 2)
        noise = np.array(given["noise"][step][index])
        return torch.from_numpy(noise if len(shape) == 2 else noise[values.edge_set.pairs()])

    def signs(values: EdgeValues, u: Any, v: Any) -> Any:
        index = walker._position(values)
        keys = walker._first[index][0].numpy()
        known = np.isin(u * values.edge_set.num_targets + v, keys)
        return np.where(known, hashed(values, u, v), np.array(given["signs"][index])[u, v].astype(np.int8))

    walker.walk.normal = normal  # type: ignore[method-assign]
    walker.signs = signs  # type: ignore[method-assign]
    if isinstance(walker, SoftDEEPR):
        walker.dormant = [-0.3 * torch.tensor(start, dtype=torch.float64) for start in given["start"]]
    return walker


def edges_now(model: Layers) -> list[list[list[int]]]:
    sets = [values.edge_set for values in edge_values(model)]
    return [[list(pair) for pair in zip(*(s.tolist() for s in edges.pairs()), strict=True)] for edges in sets]


@pytest.mark.parametrize("name", NAMES)
def test_the_library_follows_the_trace(name: str) -> None:
    given = recorded(name)
    model = Layers(given)
    optimizer = rewirer_of(name, model, given)
    found = []
    for step in range(1, reference.STEPS + 1):
        optimizer.zero_grad()
        model(given["gradients"][step - 1]).backward()
        optimizer.step()
        if step % reference.EVERY == 0:
            found.append(edges_now(model))
    for update, (mine, expected) in enumerate(zip(found, given["edges"], strict=True), 1):
        assert mine == expected, f"update {update}"


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_those_of_the_reference(name: str) -> None:
    given = reference.state()
    content = recorded(name)
    assert json.loads(json.dumps({"algorithm": name, **given, "edges": reference.trace(name, given)})) == content


def test_every_pair_of_algorithms_gives_other_edges_from_one_state() -> None:
    traces = {name: recorded(name) for name in NAMES}
    assert all(trace["weights"] == traces["static"]["weights"] for trace in traces.values())
    for one, other in itertools.combinations(NAMES, 2):
        for update in range(5):
            assert traces[one]["edges"][update] != traces[other]["edges"][update], (one, other, update)


def test_every_exported_algorithm_has_a_trace() -> None:
    """`Replay` makes the edits of others and has none of its own."""
    exported = {name for name, entry in vars(deepgraph.rewire).items() if isinstance(entry, type)}
    algorithms = {name for name in exported if issubclass(getattr(deepgraph.rewire, name), Rewirer)}
    assert {name.lower() for name in algorithms - {"Rewirer", "Replay"}} == set(NAMES)


def test_the_static_trace_never_changes() -> None:
    trace = recorded("static")
    assert all(edges == trace["edges"][0] for edges in trace["edges"])
