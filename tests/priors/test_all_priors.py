"""One suite over all priors: what every one of them keeps."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import pytest
import torch

from deepgraph import priors
from deepgraph.graph import CachedLayeredGraph


class Case(NamedTuple):
    """A prior, how to call it with a seed, and what comes out."""

    name: str
    make: Callable[[Any], CachedLayeredGraph]
    nodes: int
    edges: int | None
    random: bool = True


CASES = [
    Case("tree", lambda seed: priors.balanced_tree(3, 4), 121, 120, random=False),
    Case("tree in", lambda seed: priors.balanced_tree(2, 5, "in"), 63, 62, random=False),
    Case("chain", lambda seed: priors.balanced_tree(1, 200), 201, 200, random=False),
    Case("grid", lambda seed: priors.grid_2d(7, 9), 63, 110, random=False),
    Case("diagonal grid", lambda seed: priors.grid_2d(7, 9, diagonal=True), 63, 158, random=False),
    Case("ws", lambda seed: priors.watts_strogatz(200, 6, 0.3, seed=seed), 200, 600),
    Case("ws stored", lambda seed: priors.watts_strogatz(200, 6, 0.3, seed=seed, orientation="stored"), 200, 600),
    Case("nws", lambda seed: priors.newman_watts_strogatz(200, 6, 0.3, seed=seed), 200, None),
    Case("ba", lambda seed: priors.barabasi_albert(200, 3, seed=seed), 200, 591),
    Case("ba degree", lambda seed: priors.barabasi_albert(200, 3, seed=seed, orientation="degree"), 200, 591),
    Case("er density", lambda seed: priors.erdos_renyi_dag(200, 0.05, seed=seed), 200, 995),
    Case("er p", lambda seed: priors.erdos_renyi_dag(200, p=0.05, seed=seed), 200, None),
    Case("layered", lambda seed: priors.random_layered([20, 30, 10], 0.2, seed=seed), 60, 180),
    Case("layered erk", lambda seed: priors.random_layered([20, 30, 10], 0.2, seed=seed, distribution="erk"), 60, 180),
    Case("layered skip", lambda seed: priors.random_layered([9] * 5, 0.3, seed=seed, skip=2), 45, 219),
    Case("layered igq", lambda seed: priors.random_layered([20, 30, 10], 0.2, seed=seed, distribution="igq"), 60, 180),
    Case("grid 3d", lambda seed: priors.grid([3, 4, 5]), 60, 133, random=False),
    Case("hypercube", lambda seed: priors.hypercube(6), 64, 192, random=False),
    Case("triangular", lambda seed: priors.triangular(6, 9), 39, 92, random=False),
    Case("ring", lambda seed: priors.ring(60, 4, seed=seed), 60, 120),
    Case("ring bfs", lambda seed: priors.ring(60, orientation="bfs"), 60, 60, random=False),
    Case("circulant", lambda seed: priors.circulant(60, [1, 7, 30], seed=seed), 60, 150),
    Case("ws flex", lambda seed: priors.ws_flex(200, 6.31, 0.3, seed=seed), 200, 631),
    Case("sbm", lambda seed: priors.stochastic_block([40, 60], [[0.2, 0.02], [0.02, 0.1]], seed=seed), 100, None),
    Case(
        "sbm stored",
        lambda seed: priors.stochastic_block([40, 60], [[0.2, 0.02], [0.02, 0.1]], seed=seed, orientation="stored"),
        100,
        None,
    ),
    Case("fan in", lambda seed: priors.constant_fan_in([20, 30, 10], [5, 7], seed=seed), 60, 220),
    Case("fan in skip", lambda seed: priors.constant_fan_in([9] * 5, 4, seed=seed, skip=2), 45, 144),
    Case("small-world pairs", lambda seed: priors.bipartite_small_world([20, 30, 10], 6, 0.3, seed=seed), 60, 240),
    Case("scale-free pairs", lambda seed: priors.bipartite_scale_free([60, 90, 30], 0.1, seed=seed), 180, 810),
    Case("dense scale-free pairs", lambda seed: priors.bipartite_scale_free([9, 9], 0.5, seed=seed), 18, 40),
    Case("regular pairs", lambda seed: priors.bipartite_regular([20, 30, 10], [4, 6], seed=seed), 60, 180),
    Case("dense regular pairs", lambda seed: priors.bipartite_regular([20, 30, 10], [14, 21], seed=seed), 60, 630),
    Case("butterfly", lambda seed: priors.butterfly(3), 32, 48, random=False),
    Case("butterfly 3", lambda seed: priors.butterfly(2, 3), 27, 54, random=False),
    Case("blocks", lambda seed: priors.block_diagonal([8, 12, 6], 3), 26, 56, random=False),
    Case("thin blocks", lambda seed: priors.block_diagonal([8, 12, 6], 2, 0.5, seed=seed), 26, 42),
    Case("shuffled blocks", lambda seed: priors.block_diagonal([8, 12, 6], 2, seed=seed, shuffle=True), 26, 84),
    Case("band", lambda seed: priors.banded([9, 9, 9], 3), 27, 50, random=False),
    Case("closed band", lambda seed: priors.banded([9, 18, 3], 3, wrap=True), 30, 63, random=False),
    Case("n of m", lambda seed: priors.n_of_m([16, 12, 5], 1, 4, seed=seed), 33, 63),
    Case("theme", lambda seed: priors.blow_up(nx.DiGraph([(0, 1), (1, 2), (0, 2)]), [4, 6, 5], 0.5, seed=seed), 15, 37),
    Case(
        "undirected theme",
        lambda seed: priors.blow_up(nx.cycle_graph(5), [2] * 5, 0.5, num_nodes=30, seed=seed),
        30,
        90,
    ),
    Case("relational", lambda seed: priors.relational(nx.cycle_graph(5), 12, rounds=3), 48, None, random=False),
    Case("wiring", lambda seed: priors.random_wiring(32, seed=seed), 34, None),
    Case("wiring ba", lambda seed: priors.random_wiring(32, "ba", seed=seed), 34, None),
    Case("wiring er", lambda seed: priors.random_wiring(32, "er", seed=seed), 34, None),
    Case("cell", lambda seed: priors.cell(nx.cycle_graph(30), "random", seed=seed), 32, None),
]
RANDOM = [case for case in CASES if case.random]
GRAPH = "CachedLayeredGraph"
ids = {"ids": lambda case: case.name}


@pytest.mark.parametrize("case", CASES, **ids)
def test_sizes_and_class(case: Case) -> None:
    g = case.make(0)
    assert type(g) is CachedLayeredGraph
    assert list(g) == list(range(case.nodes))
    assert case.edges is None or g.number_of_edges() == case.edges
    assert len(g.history) == 0


@pytest.mark.parametrize("case", CASES, **ids)
def test_acyclic_with_declared_stages_that_go_up(case: Case) -> None:
    g = case.make(1)
    assert nx.is_directed_acyclic_graph(g)
    assert g.has_node_column("stage")
    stage = g.stage_array()
    src, dst = g.edge_arrays()
    assert stage.dtype == np.int32
    assert (stage[src] < stage[dst]).all()
    assert stage.min() == 0
    assert (g.layer_array() <= stage).all()


@pytest.mark.parametrize("case", CASES, **ids)
def test_stages_stay_when_edges_go(case: Case) -> None:
    g = case.make(0)
    stage = g.stage_array().tolist()
    src, dst = g.edge_arrays()
    g.edit(drop=(src[::2], dst[::2]))
    assert g.stage_array().tolist() == stage


@pytest.mark.parametrize("case", CASES, **ids)
def test_inputs_and_outputs_exist(case: Case) -> None:
    g = case.make(0)
    assert g.input_positions().size > 0
    assert g.output_positions().size > 0
    if g.has_node_column("role"):
        role, stage = g.role_array(), g.stage_array()
        assert (stage[role == "input"] == 0).all()
        assert (stage[role == "output"] == stage.max()).all()


@pytest.mark.parametrize("case", CASES, **ids)
def test_same_seed_same_bytes(case: Case) -> None:
    assert case.make(3).digest() == case.make(3).digest()


@pytest.mark.parametrize("case", RANDOM, **ids)
def test_other_seed_other_graph(case: Case) -> None:
    assert case.make(3).digest() != case.make(4).digest()


@pytest.mark.parametrize("case", RANDOM, **ids)
@pytest.mark.parametrize(
    "fresh", [lambda: np.random.default_rng(2), lambda: torch.Generator().manual_seed(2)], ids=["numpy", "torch"]
)
def test_generators_are_seeds(case: Case, fresh: Callable[[], Any]) -> None:
    generator = fresh()
    first = case.make(generator).digest()
    assert first == case.make(fresh()).digest()
    assert first != case.make(generator).digest()


def states() -> tuple[Any, ...]:
    return (
        np.random.get_state()[1].tolist(),
        np.random.get_state()[2],
        random.getstate(),
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("case", RANDOM, **ids)
def test_a_given_seed_leaves_global_states_alone(case: Case) -> None:
    before = states()
    for seed in (0, np.random.default_rng(0), torch.Generator().manual_seed(0)):
        case.make(seed)
    assert states() == before


@pytest.mark.parametrize("case", RANDOM, **ids)
def test_no_seed_obeys_numpys(case: Case) -> None:
    np.random.seed(5)
    first = case.make(None).digest()
    others = random.getstate(), torch.get_rng_state().tolist()
    np.random.seed(5)
    assert case.make(None).digest() == first
    assert case.make(None).digest() != first
    assert (random.getstate(), torch.get_rng_state().tolist()) == others


@pytest.mark.parametrize("case", CASES, **ids)
def test_networkx_reads_it(case: Case) -> None:
    g = case.make(0)
    plain = nx.DiGraph(g)
    assert nx.is_isomorphic(plain, g) if len(g) < 70 else set(plain.edges) == set(g.edges)
    assert nx.number_weakly_connected_components(g) == nx.number_weakly_connected_components(plain)


def test_every_public_name_is_there() -> None:
    assert all(hasattr(priors, name) for name in priors.__all__)
    assert sorted(priors.__all__) == priors.__all__


def test_every_prior_is_in_this_suite() -> None:
    source = inspect.getsource(inspect.getmodule(test_every_prior_is_in_this_suite))  # type: ignore[arg-type]
    made = {name for name in priors.__all__ if inspect.signature(getattr(priors, name)).return_annotation == GRAPH}
    assert len(made) > 20
    assert {name for name in made if f"priors.{name}(" not in source} == {"from_networkx"}
