"""Null models: what they keep exactly, what they draw uniformly, and that a seed decides everything."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from deepgraph.errors import (
    ArgumentError,
    CapacityError,
    CycleError,
    EdgeError,
    MissingDependencyError,
    ShapeError,
    StructureError,
)
from deepgraph.graph import CachedLayeredGraph, nulls, swaps
from deepgraph.graph.nulls import er_edges, null_degree, null_er, permute_within_blocks, stage_blocks, swap_edges
from deepgraph.graph.sampling import as_generator, sample_cells

ENGINES = ["numba", "python", "numpy"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "numba":
        pytest.importorskip("numba")
    return str(request.param)


@st.composite
def staged_edges(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges in any order on nodes whose stages are interleaved, with gaps between stages."""
    stage = np.array(draw(st.lists(st.sampled_from([0, 2, 3, 7]), min_size=1, max_size=16)))
    src, dst = np.nonzero(stage[:, None] < stage)
    kept = np.array(draw(st.lists(st.booleans(), min_size=src.size, max_size=src.size)), dtype=bool)
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(int(kept.sum()))
    return src[kept][order], dst[kept][order], stage


def degrees(src: np.ndarray, dst: np.ndarray, stage: np.ndarray) -> tuple[Any, Any]:
    """Fan-out by (node, target stage) and fan-in by (node, source stage)."""
    shape = (stage.size, 8)
    out = np.bincount(np.ravel_multi_index((src, stage[dst]), shape), minlength=stage.size * 8)
    return out.tolist(), np.bincount(np.ravel_multi_index((dst, stage[src]), shape), minlength=stage.size * 8).tolist()


def pairs_of(src: np.ndarray, dst: np.ndarray) -> list[tuple[int, int]]:
    return sorted(zip(src.tolist(), dst.tolist(), strict=True))


# -- sampling -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), max_size=8), st.integers(0, 50))
def test_sample_cells_takes_the_exact_number_from_each_block(blocks: list[tuple[int, float]], seed: int) -> None:
    size = np.array([size for size, _ in blocks], dtype=np.int64)
    count = np.array([round(size * share) for size, share in blocks], dtype=np.int64)
    block, cell = sample_cells(size, count, seed)
    assert np.bincount(block, minlength=size.size).tolist() == count.tolist()
    assert len(set(zip(block.tolist(), cell.tolist(), strict=True))) == count.sum()
    assert ((cell >= 0) & (cell < size[block])).all()
    assert pairs_of(block, cell) == list(zip(block.tolist(), cell.tolist(), strict=True))


@pytest.mark.parametrize("count", [2, 4])
def test_sample_cells_is_uniform_over_subsets(count: int) -> None:
    block, cell = sample_cells(np.full(6000, 6), np.full(6000, count), seed=1)
    codes = np.bincount(block, weights=2.0**cell).astype(int)
    seen = np.unique(codes, return_counts=True)[1]
    assert seen.size == 15
    assert stats.chisquare(seen).pvalue > 0.001


def test_sample_cells_needs_no_memory_for_its_population() -> None:
    block, cell = sample_cells([10**15, 10**15], [5, 5], seed=0)
    assert block.tolist() == [0] * 5 + [1] * 5
    assert cell.max() < 10**15


def test_sample_cells_refuses_what_does_not_fit() -> None:
    with pytest.raises(CapacityError, match="block 1 has 3 cells, of which 4 cannot be taken"):
        sample_cells([5, 3], [1, 4])
    with pytest.raises(CapacityError, match="of which -1 cannot be taken"):
        sample_cells([5], [-1])
    with pytest.raises(ShapeError, match="arrays of one length"):
        sample_cells([5, 3], [1])


# -- blocks ---------------------------------------------------------------------------------------------------------


def test_stage_blocks_count_pairs_of_nodes() -> None:
    block, pair, capacity = stage_blocks([3, 0, 1], [4, 4, 3], stage=[0, 0, 0, 5, 9])
    assert block.tolist() == [2, 1, 0]
    assert pair.tolist() == [[0, 5], [0, 9], [5, 9]]
    assert capacity.tolist() == [3, 3, 1]


def test_stage_blocks_names_what_is_wrong() -> None:
    with pytest.raises(StructureError, match=r"1 do not, the first is \(1, 0\) from stage 1 to stage 0"):
        stage_blocks([0, 1], [1, 0], stage=[0, 1])
    with pytest.raises(ShapeError, match=r"got \(2,\), \(1,\) and \(2,\)"):
        stage_blocks([0, 1], [1], stage=[0, 1])
    with pytest.raises(EdgeError, match=r"\[0, 2\), the length of stage; got positions from 0 to 5"):
        stage_blocks([0], [5], stage=[0, 1])


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(0, 20))
def test_permutation_stays_within_blocks(block: list[int], seed: int) -> None:
    order = permute_within_blocks(block, seed)
    assert sorted(order.tolist()) == list(range(len(block)))
    assert [block[k] for k in order] == block


def test_permutation_is_uniform_in_a_block() -> None:
    order = permute_within_blocks(np.repeat(np.arange(6000), 3), seed=0).reshape(-1, 3) % 3
    seen = np.unique(order @ [9, 3, 1], return_counts=True)[1]
    assert seen.size == 6
    assert stats.chisquare(seen).pvalue > 0.001


# -- Erdos-Renyi ----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(staged_edges(), st.integers(0, 20))
def test_er_keeps_the_block_of_every_edge(edges: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int) -> None:
    src, dst, stage = edges
    new_src, new_dst = er_edges(src, dst, stage, seed)
    assert stage[new_src].tolist() == stage[src].tolist()
    assert stage[new_dst].tolist() == stage[dst].tolist()
    assert len(set(pairs_of(new_src, new_dst))) == src.size


def test_er_is_uniform_over_edge_sets() -> None:
    copies = 4000
    stage = (2 * np.arange(copies)[:, None] + [0, 0, 1, 1]).ravel()
    offset = 4 * np.arange(copies)[:, None]
    src, dst = er_edges(np.repeat(offset, 2), (offset + np.array([2, 3])).ravel(), stage, seed=3)
    code = np.bincount(src // 4, weights=2.0 ** (2 * (src % 4) + dst % 4 - 2)).astype(int)
    seen = np.unique(code, return_counts=True)[1]
    assert seen.size == 6
    assert stats.chisquare(seen).pvalue > 0.001


def test_er_refuses_doubled_edges_beyond_the_block() -> None:
    with pytest.raises(CapacityError, match="block 0 has 1 cells, of which 2"):
        er_edges([0, 0], [1, 1], stage=[0, 1])


# -- degree-preserving swaps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine_name", ENGINES)
@settings(deadline=None)
@given(staged_edges(), st.integers(0, 20))
def test_swaps_keep_every_degree_in_every_block(
    engine_name: Any, edges: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int
) -> None:
    if engine_name == "numba":
        pytest.importorskip("numba")
    src, dst, stage = edges
    new_src, new_dst = swap_edges(src, dst, stage, seed, engine=engine_name)
    assert degrees(new_src, new_dst, stage) == degrees(src, dst, stage)
    assert len(set(pairs_of(new_src, new_dst))) == src.size
    assert new_src.tolist() == src.tolist()


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ([1, 1], [1, 1]),
        ([1, 1], [1, 1, 0, 0, 0]),
        ([2, 1, 1], [2, 1, 1]),
        ([2, 2, 1], [2, 2, 1]),
        ([1, 1, 1, 1], [2, 1, 1]),
        ([2, 2, 1], [3, 1, 1]),
    ],
)
def test_swaps_visit_all_configurations_equally(engine: Any, rows: list[int], columns: list[int]) -> None:
    height, width = len(rows), len(columns)
    every = [
        np.array(bits).reshape(height, width)
        for bits in itertools.product([0, 1], repeat=height * width)
        if np.array_equal(np.array(bits).reshape(height, width).sum(0), columns)
        and np.array_equal(np.array(bits).reshape(height, width).sum(1), rows)
    ]
    # Copies of the same small block between stages of their own: one call gives many independent draws.
    copies, nodes = 500 * len(every), height + width
    source, target = np.nonzero(every[0])
    offset = nodes * np.arange(copies)[:, None]
    stage = (2 * np.arange(copies)[:, None] + np.repeat([0, 1], [height, width])).ravel()
    src, dst = (offset + source).ravel(), (offset + height + target).ravel()
    src, dst = swap_edges(src, dst, stage, seed=5, swaps_per_edge=30, engine=engine)
    code = np.bincount(src // nodes, weights=2.0 ** (width * (src % nodes) + dst % nodes - height)).astype(int)
    seen = np.unique(code, return_counts=True)[1]
    assert seen.size == len(every)
    assert stats.chisquare(seen).pvalue > 0.001


def random_block(size: int = 60, edges: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, cell = sample_cells([size * size], [edges], seed=0)
    return cell // size, size + cell % size, np.repeat([0, 1], size)


def test_swaps_forget_where_they_started(engine: Any) -> None:
    src, dst, stage = random_block()
    new_src, new_dst = swap_edges(src, dst, stage, seed=0, engine=engine)
    kept = set(pairs_of(src, dst)) & set(pairs_of(new_src, new_dst))
    # A uniform graph with these degrees shares about density * edges = 69 of 500 with any given one.
    assert len(kept) < 110


def test_dense_blocks_mix_too(engine: Any) -> None:
    src, dst, stage = random_block(size=30, edges=800)
    new_src, new_dst = swap_edges(src, dst, stage, seed=0, engine=engine)
    present, later = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    present[src, dst - 30] = later[new_src, new_dst - 30] = True
    # 100 pairs are missing; of those, about one in nine stays missing in a uniform graph.
    assert (~present & ~later).sum() < 35


def test_what_no_swap_can_change_stays(engine: Any) -> None:
    stage = [0, 0, 1, 1, 2]
    src, dst = swap_edges([0, 0, 1, 1, 2], [2, 3, 2, 3, 4], stage, seed=0, engine=engine)
    assert pairs_of(src, dst) == [(0, 2), (0, 3), (1, 2), (1, 3), (2, 4)]
    none, _ = swap_edges([], [], [], seed=0, engine=engine)
    assert none.size == 0


def test_order_of_the_edges_does_not_matter(engine: Any) -> None:
    src, dst, stage = random_block()
    order = np.random.default_rng(1).permutation(src.size)
    assert pairs_of(*swap_edges(src, dst, stage, 0, engine=engine)) == pairs_of(
        *swap_edges(src[order], dst[order], stage, 0, engine=engine)
    )


def test_no_swaps_no_change(engine: Any) -> None:
    src, dst, stage = random_block()
    assert pairs_of(*swap_edges(src, dst, stage, 0, swaps_per_edge=0, engine=engine)) == pairs_of(src, dst)


def test_swaps_follow_the_seed_alone(engine: Any) -> None:
    src, dst, stage = random_block()
    np.random.seed(0)
    random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()
    first = swap_edges(src, dst, stage, 7, engine=engine)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    second = swap_edges(src, dst, stage, 7, engine=engine)
    torch.set_num_threads(threads)
    assert first[1].tobytes() == second[1].tobytes()
    assert first[1].tobytes() != swap_edges(src, dst, stage, 8, engine=engine)[1].tobytes()
    assert (np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()) == before


def test_swaps_do_not_depend_on_numba_threads() -> None:
    numba = pytest.importorskip("numba")
    src, dst, stage = random_block()
    threads = numba.get_num_threads()
    first = swap_edges(src, dst, stage, 7)
    numba.set_num_threads(1)
    second = swap_edges(src, dst, stage, 7)
    numba.set_num_threads(threads)
    assert first[1].tobytes() == second[1].tobytes()


def test_input_arrays_are_left_alone(engine: Any) -> None:
    src, dst, stage = random_block()
    copies = src.copy(), dst.copy(), stage.copy()
    swap_edges(src, dst, stage, 0, engine=engine)
    er_edges(src, dst, stage, 0)
    assert all(np.array_equal(a, b) for a, b in zip((src, dst, stage), copies, strict=True))


def test_swaps_refuse_bad_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EdgeError, match=r"1 are doubled, the first is \(0, 1\)"):
        swap_edges([0, 0], [1, 1], stage=[0, 1])
    for bad in (-1, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="swaps_per_edge must be a finite number >= 0"):
            swap_edges([0], [1], stage=[0, 1], swaps_per_edge=bad)
    with pytest.raises(ArgumentError, match="engine must be 'auto', 'numba', 'python' or 'numpy'; got 'cuda'"):
        swap_edges([0], [1], stage=[0, 1], engine="cuda")  # type: ignore[arg-type]
    monkeypatch.setattr(nulls, "compiled_swaps", lambda: None)
    with pytest.raises(MissingDependencyError, match=r"pip install deepgraph-nn\[fast\]"):
        swap_edges([0], [1], stage=[0, 1], engine="numba")
    src, dst, stage = random_block()
    assert pairs_of(*swap_edges(src, dst, stage, 0)) == pairs_of(*swap_edges(src, dst, stage, 0, engine="python"))


@settings(deadline=None)
@given(staged_edges(), st.integers(0, 20), st.sampled_from([0.5, 10, 37]))
def test_swaps_are_the_same_with_and_without_numba(
    edges: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int, swaps_per_edge: float
) -> None:
    pytest.importorskip("numba")
    src, dst, stage = edges
    found = [swap_edges(src, dst, stage, seed, swaps_per_edge, engine=name)[1] for name in ("numba", "python")]
    assert np.array_equal(*found)


def test_a_null_graph_is_the_same_with_and_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    src, dst, _ = random_block(size=120, edges=9000)
    # Two blocks, of which one takes more attempts than are drawn at once.
    g = CachedLayeredGraph.from_arrays(np.concatenate([src, dst[:300]]), np.concatenate([dst, 240 + src[:300]]), 360)
    compiled = null_degree(g, seed=4)
    monkeypatch.setattr(nulls, "compiled_swaps", lambda: None)
    assert null_degree(g, seed=4).digest() == compiled.digest() != null_degree(g, seed=5).digest()


@pytest.fixture
def forgotten_kernel() -> Iterator[None]:
    nulls.compiled_swaps.cache_clear()
    yield
    nulls.compiled_swaps.cache_clear()


@pytest.mark.usefixtures("forgotten_kernel")
def test_without_numba_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert nulls.compiled_swaps() is None


@pytest.mark.usefixtures("forgotten_kernel")
def test_a_machine_without_a_place_for_caches_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")

    def njit(nogil: bool, cache: bool = False) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert nulls.compiled_swaps() is swaps._swap_kernel


# -- seeds ----------------------------------------------------------------------------------------------------------


def test_a_seed_is_an_int_a_generator_or_none() -> None:
    assert as_generator(3).integers(1000) == np.random.default_rng(3).integers(1000)
    rng = np.random.default_rng(0)
    assert as_generator(rng) is rng
    assert as_generator(torch.Generator().manual_seed(5)).integers(1000) == as_generator(
        torch.Generator().manual_seed(5)
    ).integers(1000)
    np.random.seed(4)
    first = as_generator(None).integers(1000)
    np.random.seed(4)
    assert first == as_generator(None).integers(1000)


def test_other_seeds_are_refused() -> None:
    with pytest.raises(ArgumentError, match="seed must be an int >= 0, a generator or None; got -1"):
        as_generator(-1)
    with pytest.raises(ArgumentError, match="numpy or torch Generator, or None; got str"):
        as_generator("one")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="got Tensor"):
        as_generator(torch.zeros(1))  # type: ignore[arg-type]


# -- graphs ---------------------------------------------------------------------------------------------------------


def weighted_graph() -> CachedLayeredGraph:
    """A graph whose weights tell the block of their edge: 10 * source stage + target stage, plus a fraction."""
    stage = np.repeat([0, 1, 2], [6, 5, 4])
    rng = np.random.default_rng(0)
    src, dst = np.nonzero((stage[:, None] < stage) & (rng.random((15, 15)) < 0.4))
    weight = 10.0 * stage[src] + stage[dst] + np.arange(src.size) / 1000
    g = CachedLayeredGraph.from_arrays(src, dst, num_nodes=15, weight=weight)
    g.set_node_column("stage", stage.astype(np.int32))
    g.set_node_column("bias", np.arange(15.0))
    g.graph["inputs"] = [0, 1, 2]
    return g


@pytest.fixture(params=[null_er, null_degree])
def null(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_null_keeps_nodes_columns_and_stages(null: Any) -> None:
    g = weighted_graph()
    before = g.digest()
    other = null(g, seed=0)
    assert isinstance(other, CachedLayeredGraph)
    assert g.digest() == before
    assert set(other.edges) != set(g.edges)
    assert list(other) == list(g)
    assert other.stage_array().tolist() == g.stage_array().tolist()
    assert other.role_array().tolist() == g.role_array().tolist()
    assert other.node_column("bias").tolist() == g.node_column("bias").tolist()
    assert other.graph["inputs"] == [0, 1, 2]
    assert len(other.history) == 0


def test_null_shuffles_weights_inside_their_block(null: Any) -> None:
    g = weighted_graph()
    other = null(g, seed=0)
    src, dst = other.edge_arrays()
    stage = other.stage_array()
    weight = other.column("weight")
    assert sorted(weight.tolist()) == sorted(g.column("weight").tolist())
    assert np.floor(weight).tolist() == (10 * stage[src] + stage[dst]).tolist()


def test_null_degree_keeps_degrees_and_null_er_does_not() -> None:
    g = weighted_graph()
    stage = g.stage_array()
    kept = null_degree(g, seed=0)
    assert degrees(*kept.edge_arrays(), stage) == degrees(*g.edge_arrays(), stage)
    assert degrees(*null_er(g, seed=0).edge_arrays(), stage) != degrees(*g.edge_arrays(), stage)


def test_null_without_declared_stages_declares_layers_and_roles(null: Any) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1, 2, 3, 3], [3, 3, 4, 4, 5])
    other = null(g, seed=1)
    assert other.node_column("stage").tolist() == g.layer_array().tolist()
    assert other.node_column("role").tolist() == g.role_array().tolist()
    assert not g.has_node_column("stage")


def test_null_keeps_labels_and_any_attribute(null: Any) -> None:
    g = CachedLayeredGraph()
    g.add_edges_from([("a", "x", {"tag": (1,)}), ("b", "x"), ("b", "y", {"weight": 2.0})])
    other = null(g, seed=0)
    assert list(other) == ["a", "x", "b", "y"]
    data = [attributes for _, _, attributes in other.edges(data=True)]
    assert sum(attributes == {"tag": (1,)} for attributes in data) == 1
    assert sum(attributes == {"weight": 2.0} for attributes in data) == 1


def test_null_follows_its_seed(null: Any) -> None:
    g = weighted_graph()
    assert null(g, seed=3).digest() == null(g, seed=3).digest()
    assert null(g, seed=3).digest() != null(g, seed=4).digest()
    rng = np.random.default_rng(0)
    assert null(g, rng).digest() != null(g, rng).digest()


def test_null_of_nothing(null: Any) -> None:
    assert len(null(CachedLayeredGraph(), seed=0)) == 0
    assert null(CachedLayeredGraph.from_arrays([], [], num_nodes=3), seed=0).number_of_edges() == 0


def test_null_refuses_a_cycle(null: Any) -> None:
    with pytest.raises(CycleError, match="cycle of 2 edges"):
        null(CachedLayeredGraph.from_arrays([0, 1], [1, 0]), seed=0)
