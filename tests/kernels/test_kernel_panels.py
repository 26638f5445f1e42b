"""Panels change the speed of dense layers and no bit of their results."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from naive_network import chain, error, layered, random_topology, run_naively

from deepgraph.kernels import panels
from deepgraph.kernels.numba_walk import NumbaWalk
from deepgraph.kernels.panels import panel_table, worth_panels
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.topology import Topology

needs_numba = pytest.mark.skipif(not has_numba(), reason="numba is not installed")


def test_which_networks_have_panels() -> None:
    assert worth_panels(layered([20, 30, 10], 0.5, 1))
    assert not worth_panels(layered([20, 30, 10], 0.05, 1))
    assert not worth_panels(chain(4, 1))
    # Wide stages have them from lower density.
    assert worth_panels(layered([2100, 40], 0.05, 1))
    assert not worth_panels(layered([2100, 40], 0.03, 1))
    pooled = Topology(3, [0, 1], [2, 2], [0, 0, 1], [0, 1], [2], [0] * 3, reduce=[0, 0, 1])
    assert not worth_panels(pooled)


@pytest.mark.parametrize("by_source", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_table_cuts_the_edges_of_each_node_by_panel(rows: int, by_source: bool) -> None:
    t = layered([7, 9, 8, 2], 0.4, 1)
    starts, counts, pointers = panel_table(t, rows, by_source)
    indptr = t.source_indptr if by_source else t.target_indptr
    other = t.target_rank if by_source else t.source_rank
    stage = np.searchsorted(starts, np.arange(t.num_nodes), side="right") - 1
    for node in range(t.num_nodes):
        assert pointers[node, 0] == indptr[node]
        assert pointers[node, counts[stage[node]]] == indptr[node + 1]
        begin = starts[stage[node] + (1 if by_source else -1)]
        for panel in range(counts[stage[node]]):
            inside = other[pointers[node, panel] : pointers[node, panel + 1]] - begin
            assert ((inside >= panel * rows) & (inside < (panel + 1) * rows)).all()


@needs_numba
@pytest.mark.parametrize("batch", [20, 130])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("code", [1, 5, 10])
def test_panels_change_no_bit(batch: int, dtype: torch.dtype, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "first_cache", lambda: 4096)
    t = layered([40, 60, 50, 5], 0.5, code)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 40, generator=generator, dtype=dtype)
    w = torch.randn(t.num_edges, generator=generator, dtype=dtype) / 5
    b, dy = (
        torch.randn(t.num_parameters, generator=generator, dtype=dtype),
        torch.randn(batch, 5, generator=generator, dtype=dtype),
    )
    results = []
    for on in (True, False):
        kernel = NumbaWalk(t)
        kernel.__dict__["_has_panels"] = on
        y, saved = kernel.forward(x, list(w.split(list(t.splits))), b)
        for need_dx in (True, False):
            dx, dw, db, dz = kernel.backward(dy, saved, list(w.split(list(t.splits))), need_dx, b)
            results.append([y, torch.cat(dw), db, *([dx] if need_dx else [])])
            zeros = kernel.gradients(dz, batch)
    for got, wanted in zip(results[:2], results[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    expected = run_naively(t, x.double(), w.double(), b.double(), dy.double())
    assert error(results[0][1], expected.dw) < (1e-5 if dtype == torch.float32 else 1e-12)
    assert error(zeros, expected.dz) < (1e-5 if dtype == torch.float32 else 1e-12)


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 8, 16])
def test_small_batches_scatter(batch: int, dtype: torch.dtype) -> None:
    t = random_topology(batch, 60, 5, 0.3, [0, 1, 2, 3, 5, 6, 10])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, len(t.inputs), generator=generator, dtype=dtype)
    w, b = torch.randn(t.num_edges, generator=generator, dtype=dtype) / 3, torch.randn(t.num_parameters, dtype=dtype)
    y, saved = NumbaWalk(t).forward(x, [w], b)
    expected = run_naively(t, x.double(), w.double(), b.double())
    assert error(y, expected.y) < (1e-5 if dtype == torch.float32 else 1e-12)
    assert error(NumbaWalk(t).activations(saved, batch), expected.outputs) < (1e-5 if dtype == torch.float32 else 1e-12)
