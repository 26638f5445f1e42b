"""Buffers are used again when nobody holds them, and values of edges are found wherever they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from naive_network import layered, random_topology

from deepgraph.kernels.buffers import Buffers
from deepgraph.kernels.node_values import Parts, Values, steps
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.topology import Topology


@pytest.mark.parametrize("size", [1, 1000, 3_000_000])
def test_memory_is_used_again_when_nobody_holds_it(size: int) -> None:
    buffers = Buffers()
    first = buffers.array((size,), np.float32)
    first[:] = 7
    address = first.ctypes.data
    assert address % 64 == 0
    tensor = torch.from_numpy(first)[: size // 2 + 1]
    del first
    second = buffers.array((size,), np.float32)
    second[:] = 8
    assert second.ctypes.data != address
    assert (tensor == 7).all()
    del tensor
    assert buffers.array((size,), np.float32).ctypes.data == address


def test_a_large_block_does_not_serve_a_small_request() -> None:
    buffers = Buffers(blocks=2)
    address = buffers.array((100_000,), np.float64).ctypes.data
    assert buffers.array((10,), np.float64).ctypes.data != address
    assert buffers.array((90_000,), np.float64).ctypes.data == address
    for size in (1, 10_000, 0):
        assert buffers.array((size, 3), np.float32).shape == (size, 3)
    assert len(buffers._blocks) == 2


def test_steps_take_as_few_bytes_as_they_fit() -> None:
    small = steps(np.array([0, 32767], np.int32), np.array([32768, 0], np.int32))
    assert small.dtype == np.int16
    assert small.tolist() == [-32768, 32767]
    assert steps(np.array([32768], np.int32), np.array([0], np.int32)).dtype == np.int32
    assert steps(np.array([], np.int32), np.array([], np.int32)).dtype == np.int16


def joined(weights: list[torch.Tensor], t: Topology) -> np.ndarray:
    return torch.cat([w[:n] for w, n in zip(weights, t.splits, strict=True)]).numpy()


@pytest.mark.skipif(not has_numba(), reason="numba is not installed")
@pytest.mark.parametrize("kind", ["layers", "graph", "source in two tensors", "targets mixed"])
def test_values_are_gathered_from_where_they_are(kind: str) -> None:
    from deepgraph.kernels.numba_loops import gather

    if kind == "layers":
        t = layered([5, 7, 4, 3], 0.5, 1)
    else:
        whole = random_topology(3, 20, 4, 0.5, [1])
        count = whole.num_edges
        first = int(whole.source_indptr[10]) + (kind == "source in two tensors")
        splits = (count,) if kind == "graph" else (first, count - first)
        t = whole.with_edges(whole.src, whole.dst, splits)
    weights = [torch.randn(n + 2) for n in t.splits]
    values, parts = Values.of(Parts.of(t), weights), Parts.of(t)
    addresses, bounds = values.by_target
    out = np.empty(t.num_edges, np.float32)
    gather(addresses, bounds, t.target_perm, out)
    np.testing.assert_array_equal(out, joined(weights, t)[t.target_perm])
    assert parts.by_source == (kind != "source in two tensors")
    where, part = values.by_node()
    assert len(where) == (len(t.splits) if parts.by_source else 1)
    assert part.max() == len(where) - 1
    assert len(values.by_node(whole=True)[0]) == 1
