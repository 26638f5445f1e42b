"""Plans follow from facts by fixed rules, without kernels; they print and survive JSON."""

from __future__ import annotations

import json

import pytest
from naive_network import chain, layered, random_topology

from deepgraph.errors import ArgumentError, FileFormatError, MissingDependencyError, TooLargeError
from deepgraph.kernels import numba_walk
from deepgraph.kernels.facts import Facts, describe
from deepgraph.kernels.plan import Plan, choose_storage, make_plan
from deepgraph.kernels.tiling import MAX_GROUPS, tile_width, tiling
from deepgraph.kernels.topology import Topology

FACTS = Facts(130, (100, 30), (150,), (3000,), 3000, True)


@pytest.mark.parametrize(
    ("density", "options", "expected"),
    [
        (0.05, {}, "csr"),
        (0.5, {}, "csr"),
        (0.51, {}, "masked"),
        (1.0, {}, "masked"),
        (0.2, {"numba_available": False}, "masked"),
        (0.1, {"numba_available": False}, "csr"),
        (0.2, {"device": "cuda:0"}, "masked"),
        (0.9, {"stages": 40}, "csr"),
        (0.9, {"elements": 2**29}, "csr"),
        (0.0, {}, "csr"),
        (0.3, {"batch": 1}, "csr"),
        (0.31, {"batch": 1}, "masked"),
        (1.0, {"batch": 2}, "csr"),
        (1.0, {"batch": 8}, "csr"),
        (0.55, {"batch": 9}, "csr"),
        (0.56, {"batch": 16}, "masked"),
        (0.5, {"batch": 17}, "csr"),
        (0.51, {"batch": 4096}, "masked"),
        (1.0, {"batch": 1, "elements": 2**16}, "csr"),
        (1.0, {"batch": 1, "elements": 2**16 + 1}, "masked"),
        (1.0, {"batch": 128, "elements": 2**10}, "masked"),
        (0.2, {"batch": 1, "numba_available": False, "elements": 2**10}, "masked"),
        (0.1, {"batch": 1, "numba_available": False}, "csr"),
        (0.2, {"batch": 1, "device": "cuda:0"}, "masked"),
    ],
)
def test_storage_follows_density(density: float, options: dict[str, object], expected: str) -> None:
    assert choose_storage(density, **{"numba_available": True, **options}) == expected  # type: ignore[arg-type]


def test_facts_of_a_layered_network() -> None:
    t = layered([6, 8, 3], 0.5, 1)
    facts = describe(t)
    assert facts.layered
    assert facts.widths == (6, 8, 3)
    assert facts.pairs == (48, 24)
    assert facts.edges == t.splits
    assert facts.masked_elements == 72
    assert facts.density == sum(t.splits) / 72


def test_a_single_stage_has_no_pairs() -> None:
    facts = describe(Topology(2, [], [], [0, 0], [0], [1], [0, 0]))
    assert not facts.layered
    assert facts.pairs == (0,)
    assert facts.density == 0
    assert make_plan(facts, "masked").parts[0].layout == "flat"


def test_facts_of_a_network_with_skip_edges() -> None:
    facts = describe(chain(5, 1))
    assert not facts.layered
    assert facts.pairs == (4 + 3 + 2 + 1,)
    assert facts.masked_elements == 10
    t = random_topology(3, 20, 4, 0.5, [1])
    admissible = sum(int(t.stage[u] < t.stage[v]) for v in range(20) for u in range(20) if v not in t.inputs)
    assert describe(t).pairs == (admissible,)


def test_kernels_follow_from_storage_dtype_device_and_numba() -> None:
    def kernel(**options: object) -> str:
        return make_plan(FACTS, **{"numba_available": True, **options}).parts[0].kernel  # type: ignore[arg-type]

    assert kernel() == "NumbaWalk"
    assert kernel(dtype="float64") == "NumbaWalk"
    assert kernel(dtype="bfloat16") == "NumbaWalk"
    assert kernel(dtype="float16") == "TorchWalk"
    assert kernel(device="cuda") == "TorchWalk"
    assert kernel(numba_available=False) == "TorchWalk"
    assert kernel(storage="masked") == "MaskedStages"


def test_a_plan_reads_as_a_table() -> None:
    text = str(make_plan(FACTS, numba_available=True))
    assert text.splitlines() == [
        "weights  storage  kernel     edges  density  tile  groups",
        "network  csr      NumbaWalk    150    5.00%    64       2",
        "network: edge values because 5.00% of the pairs in 2 stages are edges; float32 on cpu, at batch 128 about "
        "0.1 million multiply-adds a step, 0.1 MB",
    ]
    missing = str(make_plan(FACTS, numba_available=False))
    assert "numba is not installed: torch kernels, slower; pip install deepgraph-nn[fast]" in missing
    several = str(Plan.join({"stem": make_plan(describe(layered([6, 8, 3], 1.0, 1)))}))
    assert "stem.0   masked   MaskedStages" in several
    assert "because 100% of the pairs are edges" in several
    few = make_plan(FACTS, numba_available=True, batch=4)
    assert (few.parts[0].batch, few.parts[0].tile, few.parts[0].multiply_adds) == (4, 4, 3 * 150 * 4)
    assert "float32 on cpu, at batch 4 about" in str(few)


def test_plans_survive_json() -> None:
    plan = Plan.join({"a": make_plan(FACTS, numba_available=False), "b": make_plan(FACTS, "masked")})
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    with pytest.raises(FileFormatError, match=r"expected a plan as written by Plan.to_dict"):
        Plan.from_dict({"parts": [{"name": "x"}]})
    with pytest.raises(FileFormatError, match=r"expected a plan"):
        Plan.from_dict({})


def test_dense_is_for_complete_graphs_only() -> None:
    full = Facts(130, (100, 30), (3000,), (3000,), 3000, True)
    assert make_plan(full, "dense").parts[0].storage == "dense"
    with pytest.raises(ArgumentError, match=r"every pair to be an edge for storage 'dense', got 150 of 3,000"):
        make_plan(FACTS, "dense")


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ArgumentError, match=r"expected storage 'auto', .* got 'blocks'"):
        make_plan(FACTS, "blocks")
    with pytest.raises(ArgumentError, match=r"expected a density in \[0, 1\], got 1.5"):
        choose_storage(1.5)
    for batch in (0, 2.5, True):
        with pytest.raises(ArgumentError, match=r"batch: expected an integer from 1, the rows of a pass, got"):
            choose_storage(0.5, batch=batch)  # type: ignore[arg-type]
    with pytest.raises(TooLargeError, match=r"takes 4.0 GB in float32, more than the limit of 1 GB; use storage='csr'"):
        make_plan(Facts(10, (5, 5), (1,), (25,), 2**30, False), "masked")


def test_numba_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_walk, "has_numba", lambda: False)
    with pytest.raises(MissingDependencyError, match=r"pip install deepgraph-nn\[fast\]"):
        numba_walk.NumbaWalk(chain(3, 1))


@pytest.mark.parametrize("batch", [1, 2, 15, 16, 17, 64, 100, 128, 1000, 5000])
@pytest.mark.parametrize("itemsize", [4, 8])
def test_tiles_cover_the_batch_and_groups_cover_the_tiles(batch: int, itemsize: int) -> None:
    cut = tiling(batch, itemsize)
    assert cut.tile == tile_width(batch, itemsize)
    # A row of a tile is a whole number of 64-byte vectors, or a shorter vector, or one number.
    assert cut.tile * itemsize % 64 == 0 or cut.tile * itemsize in (itemsize, 16, 32)
    assert (cut.tiles - 1) * cut.tile < batch <= cut.tiles * cut.tile
    assert [tile for first, last in cut.groups for tile in range(first, last)] == list(range(cut.tiles))
    assert len(cut.groups) == min(cut.tiles, MAX_GROUPS)
    assert cut.single == (cut.tiles <= MAX_GROUPS)
