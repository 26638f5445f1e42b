"""Maximum and product nodes: every kernel that has them computes what neurons compute one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_network import chain, error, random_topology, run_naively

from deepgraph.errors import ArgumentError, ShapeError, UnsupportedOperationError
from deepgraph.kernels import numba_walk, reductions
from deepgraph.kernels.base import Kernel
from deepgraph.kernels.facts import describe
from deepgraph.kernels.masked import MaskedStages
from deepgraph.kernels.numba_walk import NumbaWalk
from deepgraph.kernels.operator import Program
from deepgraph.kernels.plan import has_numba, make_plan
from deepgraph.kernels.reductions import MAX, PROD, reduction
from deepgraph.kernels.topology import Topology
from deepgraph.kernels.torch_walk import TorchWalk

Kind = Callable[[Topology], Kernel]
KERNELS = [
    pytest.param(TorchWalk, id="TorchWalk"),
    pytest.param(NumbaWalk, id="NumbaWalk", marks=pytest.mark.skipif(not has_numba(), reason="numba is not installed")),
]
every_kernel = pytest.mark.parametrize("kind", KERNELS)


def compare(kernel: Kernel, batch: int, seed: int = 0, scale: float = 1.0, integers: bool = False) -> None:
    t = kernel.topology
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        if integers:
            return torch.randint(-1, 2, shape, generator=generator).double()
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    x, w, b, dy = (
        draw(batch, len(t.inputs)),
        draw(t.num_edges) * scale,
        draw(t.num_parameters),
        draw(batch, len(t.outputs)),
    )
    expected = run_naively(t, x, w, b, dy)
    weights = [torch.cat([w, w.new_full((3,), 9.0)])]
    y, saved = kernel.forward(x, weights, b)
    dx, (dw,), db, dz = kernel.backward(dy, saved, weights)
    _, (again,), *_ = kernel.backward(dy, saved, weights, need_dx=False)
    pairs = {
        "y": (y, expected.y),
        "dx": (dx, expected.dx),
        "dw": (dw[: t.num_edges], expected.dw),
        "dw without dx": (again[: t.num_edges], expected.dw),
        "db": (db, expected.db),
        "A": (kernel.activations(saved, batch), expected.outputs),
        "dZ": (kernel.gradients(dz, batch), expected.dz),
    }
    for name, (got, wanted) in pairs.items():
        assert error(got, wanted) < 1e-9, name
    assert not dw[t.num_edges :].any()


@every_kernel
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    nodes=st.integers(1, 25),
    stages=st.integers(1, 6),
    density=st.sampled_from([0.1, 0.4, 1.0]),
    batch=st.integers(1, 40),
)
def test_equals_the_reference_on_random_graphs(
    kind: Kind, seed: int, nodes: int, stages: int, density: float, batch: int
) -> None:
    t = random_topology(seed, nodes, stages, density, [0, 1, 2, 3, 5, 6], reduces=3)
    compare(kind(t), batch, seed, scale=0.5)


@every_kernel
@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), nodes=st.integers(2, 15))
def test_ties_and_zeros_as_in_the_reference(kind: Kind, seed: int, nodes: int) -> None:
    # Values -1, 0 and 1 make many equal maxima and many products with one or several zeros.
    compare(kind(random_topology(seed, nodes, 3, 0.8, [0], reduces=3)), 7, seed, integers=True)


@every_kernel
@pytest.mark.parametrize("code", range(10))
def test_every_activation(kind: Kind, code: int) -> None:
    compare(kind(random_topology(code, 30, 4, 0.3, [code], reduces=3)), 33, seed=code, scale=0.5)


@every_kernel
def test_a_node_without_edges_shows_its_bias(kind: Kind) -> None:
    t = Topology(3, [], [], [0, 1, 1], [0], [1, 2], [0, 1, 0], reduce=[0, MAX, PROD])
    y, _ = kind(t).forward(torch.ones(2, 1), [torch.zeros(0)], torch.tensor([2.0, -3.0]))
    assert y.tolist() == [[2.0, -3.0]] * 2


@every_kernel
def test_gradients_of_a_maximum_and_of_a_product_with_zeros(kind: Kind) -> None:
    t = Topology(
        5, [0, 0, 1, 1, 2, 2], [3, 4] * 3, [0, 0, 0, 1, 1], [0, 1, 2], [3, 4], [0] * 5, reduce=[0, 0, 0, MAX, PROD]
    )
    kernel, x = kind(t), torch.tensor([[2.0, 2.0, 1.0], [3.0, 0.0, 5.0], [0.0, 0.0, 4.0]])
    weights, bias = [torch.ones(6)], torch.tensor([0.0, 1.0])
    y, saved = kernel.forward(x, weights, bias)
    assert y.tolist() == [[2.0, 5.0], [5.0, 1.0], [4.0, 1.0]]
    for column, expected in ((0, [[1, 0, 0], [0, 0, 1], [0, 0, 1]]), (1, [[2, 2, 4], [0, 15, 0], [0, 0, 0]])):
        dx = kernel.backward(torch.eye(2)[[column] * 3], saved, weights)[0]
        assert dx.tolist() == expected


@every_kernel
def test_products_of_many_small_factors_keep_their_gradients(kind: Kind) -> None:
    # Dividing the product, which is no normal number, by a factor would give none.
    t = Topology(3, [0, 1], [2, 2], [0, 0, 1], [0, 1], [2], [0, 0, 0], reduce=[0, 0, PROD])
    kernel, weights = kind(t), [torch.ones(2)]
    _, saved = kernel.forward(torch.tensor([[1e-30, 1e-15]]), weights, torch.zeros(1))
    dx = kernel.backward(torch.ones(1, 1), saved, weights)[0]
    np.testing.assert_allclose(dx[0], [1e-15, 1e-30], rtol=1e-6)


@every_kernel
def test_not_a_number_passes(kind: Kind) -> None:
    t = Topology(3, [0, 1], [2, 2], [0, 0, 1], [0, 1], [2], [0, 0, 0], reduce=[0, 0, MAX])
    x = torch.tensor([[float("nan"), 1.0], [1.0, float("nan")], [1.0, 2.0]])
    y, _ = kind(t).forward(x, [torch.ones(2)], torch.zeros(1))
    assert y.isnan().tolist() == [[True], [True], [False]]


@every_kernel
def test_gradcheck_through_the_operator(kind: Kind) -> None:
    t = random_topology(7, 12, 4, 0.6, [0, 3], reduces=3)
    live = Program(t, "csr", dtype=torch.float64)
    live.kernel = kind(t)
    generator = torch.Generator().manual_seed(0)
    leaves = [
        torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)
        for shape in ((3, len(t.inputs)), (t.num_edges,), (t.num_parameters,))
    ]
    assert torch.autograd.gradcheck(lambda x, w, b: live(x, [w], b), leaves)


@every_kernel
def test_large_windows_are_cut(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reductions, "_CHUNK_ELEMENTS", 50)
    compare(kind(random_topology(3, 40, 3, 0.7, [0, 1], reduces=3)), 9, scale=0.5)


@every_kernel
def test_edited_edges_keep_the_reductions(kind: Kind) -> None:
    t = random_topology(5, 20, 4, 0.6, [3], reduces=3)
    kernel = kind(t)
    compare(kernel, 3)
    keep = np.arange(t.num_edges) % 3 > 0
    compare(kernel.with_topology(t.with_edges(t.src[keep], t.dst[keep])), 3)


@pytest.mark.skipif(not has_numba(), reason="numba is not installed")
def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_walk, "_THREAD_WORK", 0)
    kernel = NumbaWalk(random_topology(1, 60, 4, 0.4, [3], reduces=3))
    t, results = kernel.topology, []
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(300, len(t.inputs), generator=generator), torch.randn(t.num_edges, generator=generator)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        y, saved = kernel.forward(x, [w], torch.zeros(t.num_parameters))
        dx, (dw,), db, _ = kernel.backward(torch.ones_like(y), saved, [w])
        results.append((y, dx, dw, db))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_masked_storage_refuses_and_a_plan_chooses_edge_values() -> None:
    t = Topology(3, [0, 1], [2, 2], [0, 0, 1], [0, 1], [2], [0, 0, 0], reduce=[0, 0, MAX])
    with pytest.raises(UnsupportedOperationError, match=r"computes sums, got 1 nodes that reduce.*use storage='csr'"):
        MaskedStages(t)
    with pytest.raises(UnsupportedOperationError, match=r"expected sums only for storage 'masked'.*use storage='csr'"):
        make_plan(describe(t), "masked")
    part = make_plan(describe(t)).parts[0]
    assert part.storage == "csr"
    assert "maximum or product" in part.why


def test_unknown_reductions_are_refused() -> None:
    assert [reduction(name) for name in ("sum", "max", "prod")] == [0, 1, 2]
    with pytest.raises(ArgumentError, match="unknown reduction 'mean': expected one of sum, max, prod"):
        reduction("mean")
    with pytest.raises(ArgumentError, match=r"expected reduce codes 0 \(sum\), 1 \(max\) or 2 \(prod\), got 3"):
        Topology(2, [], [], [0, 1], [0], [1], [0, 0], reduce=[0, 3])
    with pytest.raises(ShapeError, match=r"expected reduce of shape \(2,\), one entry per node, got \(1,\)"):
        Topology(2, [], [], [0, 1], [0], [1], [0, 0], reduce=[0])
    assert chain(3, 1).only_sums
