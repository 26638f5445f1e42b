"""Every kernel computes what neurons compute one by one, in both directions, on every kind of graph."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_network import chain, error, layered, random_topology, run_naively, topologies

from deepgraph.errors import ArgumentError, ShapeError, StructureError, TooLargeError, UnsupportedOperationError
from deepgraph.kernels import numba_walk
from deepgraph.kernels.activations import activation
from deepgraph.kernels.base import Kernel
from deepgraph.kernels.masked import MaskedStages
from deepgraph.kernels.numba_walk import NumbaWalk
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.topology import Topology
from deepgraph.kernels.torch_walk import TorchWalk

CODES = list(range(11))
needs_numba = pytest.mark.skipif(not has_numba(), reason="numba is not installed")
KERNELS = [
    pytest.param(TorchWalk, id="TorchWalk"),
    pytest.param(MaskedStages, id="MaskedStages"),
    pytest.param(NumbaWalk, id="NumbaWalk", marks=needs_numba),
]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def place(kernel: Kernel, w: torch.Tensor, spare: int = 0) -> list[torch.Tensor]:
    """Return the weights of all edges in the layout of a kernel, with spare room in edge values."""
    parts = w.split(list(kernel.topology.splits))
    if kernel.storage == "csr":
        return [torch.cat([part, part.new_full((spare,), 9.0)]) for part in parts]
    if not isinstance(kernel, MaskedStages):
        raise TypeError(kernel)
    weights = [w.new_zeros(shape) for shape in kernel.weight_shapes()]
    for weight, index, part in zip(
        weights, kernel.edge_index(), w.split([len(i) for i in kernel.edge_index()]), strict=True
    ):
        weight.view(-1)[torch.from_numpy(index)] = part
    return weights


def on_edges(kernel: Kernel, gradients: list[torch.Tensor]) -> torch.Tensor:
    """Return the gradients of all edges in canonical order; raises if anything lies off the edges."""
    if kernel.storage == "csr":
        for gradient, count in zip(gradients, kernel.topology.splits, strict=True):
            assert not gradient[count:].any()
        return torch.cat([g[:count] for g, count in zip(gradients, kernel.topology.splits, strict=True)])
    if not isinstance(kernel, MaskedStages):
        raise TypeError(kernel)
    taken = []
    for gradient, index in zip(gradients, kernel.edge_index(), strict=True):
        flat = gradient.reshape(-1).clone()
        taken.append(flat[torch.from_numpy(index)].clone())
        flat[torch.from_numpy(index)] = 0
        assert not flat.any()
    return torch.cat(taken)


def check(kernel: Kernel, batch: int, dtype: torch.dtype, seed: int = 0, spare: int = 0, scale: float = 1.0) -> None:
    """Compare one forward and backward pass with the reference."""
    t = kernel.topology
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)

    x, w, b = draw(batch, len(t.inputs)), draw(t.num_edges) * scale, draw(t.num_parameters)
    dy = draw(batch, len(t.outputs))
    expected = run_naively(t, x.double(), w.double(), b.double(), dy.double())
    weights = place(kernel, w, spare)
    kernel.check(x, weights, b)
    y, saved = kernel.forward(x, weights, b)
    assert saved.shape == kernel.saved_shape(batch, dtype)
    dx, dweights, db, dz = kernel.backward(dy, saved, weights, bias=b)
    none, again, *_ = kernel.backward(dy, saved, weights, need_dx=False, bias=b)
    assert none is None
    assert [d.shape for d in dweights] == [weight.shape for weight in weights]
    pairs = {
        "y": (y, expected.y),
        "dx": (dx, expected.dx),
        "dw": (on_edges(kernel, dweights), expected.dw),
        "dw without dx": (on_edges(kernel, again), expected.dw),
        "db": (db, expected.db),
        "A": (kernel.activations(saved, batch), expected.outputs),
        "dZ": (kernel.gradients(dz, batch), expected.dz),
    }
    for name, (got, wanted) in pairs.items():
        assert got.dtype == dtype
        assert error(got, wanted) < TOLERANCE[dtype], name


@pytest.mark.parametrize("kind", KERNELS)
@settings(max_examples=60, deadline=None)
@given(t=topologies(CODES), batch=st.integers(1, 40), seed=st.integers(0, 99))
def test_equals_the_reference_on_random_graphs(
    kind: Callable[[Topology], Kernel], t: Topology, batch: int, seed: int
) -> None:
    check(kind(t), batch, torch.float64, seed)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("code", CODES)
def test_every_activation(kind: Callable[[Topology], Kernel], code: int, dtype: torch.dtype) -> None:
    # relu flips at rounding: float32 is compared on a smooth enough scale.
    check(kind(random_topology(code, 30, 4, 0.3, [code])), 33, dtype, seed=code, scale=0.5)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("batch", [1, 2, 16, 17, 63, 64, 65, 128, 200, 1100])
def test_every_batch_size(kind: Callable[[Topology], Kernel], batch: int) -> None:
    check(kind(random_topology(1, 20, 5, 0.4, [3, 4, 5])), batch, torch.float32, scale=0.3)


@pytest.mark.parametrize("kind", KERNELS)
def test_three_hundred_stages(kind: Callable[[Topology], Kernel]) -> None:
    check(kind(chain(320, activation("tanh").code)), 5, torch.float64, scale=0.7)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("nodes", [1, 4])
def test_graphs_without_edges(kind: Callable[[Topology], Kernel], nodes: int) -> None:
    t = Topology(nodes, [], [], np.zeros(nodes, int), [0], [nodes - 1, 0], np.ones(nodes, int))
    check(kind(t), 3, torch.float64)


@pytest.mark.parametrize("kind", KERNELS)
def test_an_empty_batch(kind: Callable[[Topology], Kernel]) -> None:
    kernel = kind(random_topology(0, 10, 3, 0.5, [1, 5]))
    t = kernel.topology
    weights = place(kernel, torch.ones(t.num_edges))
    y, saved = kernel.forward(torch.zeros(0, len(t.inputs)), weights, torch.zeros(t.num_parameters))
    dx, dweights, db, _ = kernel.backward(y, saved, weights)
    assert y.shape == (0, len(t.outputs))
    assert dx.shape == (0, len(t.inputs))
    assert not on_edges(kernel, dweights).any()
    assert not db.any()


@pytest.mark.parametrize("kind", [TorchWalk, pytest.param(NumbaWalk, marks=needs_numba)])
@pytest.mark.parametrize("spare", [1, 50])
def test_spare_room_is_not_read_and_gets_no_gradient(kind: Callable[[Topology], Kernel], spare: int) -> None:
    check(kind(layered([6, 8, 7, 3], 0.5, 3)), 20, torch.float64, spare=spare)


def test_masked_layers_equal_the_reference() -> None:
    t = layered([6, 8, 7, 3], 0.4, 5)
    kernel = MaskedStages(t, layout="layers")
    assert kernel.weight_shapes() == [(8, 6), (7, 8), (3, 7)]
    check(kernel, 20, torch.float64)


@needs_numba
@pytest.mark.parametrize("name", ["relu", "prelu"])
def test_results_do_not_depend_on_the_number_of_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_walk, "_THREAD_WORK", 0)
    t = layered([50, 60, 60, 10], 0.5, activation(name).code)
    kernel = NumbaWalk(t)
    generator = torch.Generator().manual_seed(0)
    for batch in (128, 700):
        x = torch.randn(batch, 50, generator=generator)
        weights = [torch.randn(t.num_edges, generator=generator) / 5]
        weights = list(weights[0].split(list(t.splits)))
        dy = torch.randn(batch, 10, generator=generator)
        b = torch.randn(t.num_parameters, generator=generator)
        results = []
        before = torch.get_num_threads()
        try:
            for threads in (1, 2, 5):
                torch.set_num_threads(threads)
                y, saved = kernel.forward(x, weights, b)
                dx, dweights, db, _ = kernel.backward(dy, saved, weights, bias=b)
                results.append([y, dx, *dweights, db])
        finally:
            torch.set_num_threads(before)
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("kind", KERNELS)
def test_a_second_forward_leaves_saved_outputs_alone(kind: Callable[[Topology], Kernel]) -> None:
    kernel = kind(random_topology(3, 12, 4, 0.5, [3]))
    t = kernel.topology
    weights = place(kernel, torch.ones(t.num_edges))
    _, saved = kernel.forward(torch.ones(4, len(t.inputs)), weights, torch.zeros(t.num_parameters))
    before = kernel.activations(saved, 4).clone()
    kernel.forward(torch.full((4, len(t.inputs)), -2.0), weights, torch.zeros(t.num_parameters))
    assert torch.equal(kernel.activations(saved, 4), before)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_sums(kind: Callable[[Topology], Kernel], code: int, dtype: torch.dtype) -> None:
    kernel = kind(Topology(2, [0], [1], [0, 1], [0], [1], [0, code]))
    x = torch.tensor([[float("nan")], [1e4], [-1e4], [50.0], [-50.0], [1e-30], [0.0], [-0.5]], dtype=dtype)
    slopes = [0.25] if activation(code).has_slope else []
    b = x.new_tensor([0.0, *slopes])
    y, saved = kernel.forward(x, [x.new_ones(1)], b)
    leaf = x.clone().requires_grad_()
    expected = activation(code).forward(leaf, *slopes)
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    dx = kernel.backward(torch.ones_like(y), saved, [x.new_ones(1)], bias=b)[0]
    assert y[0].isnan()
    np.testing.assert_allclose(y[1:], expected.detach()[1:], rtol=1e-5, atol=2e-7)
    # At 0 and where the function is flat, derivatives from the output may differ from those from z.
    smooth = [1, 2, 3, 4, 7]
    np.testing.assert_allclose(dx[smooth], slope[smooth], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KERNELS)
def test_nan_and_infinity_pass_through(kind: Callable[[Topology], Kernel]) -> None:
    t = Topology(2, [0], [1], [0, 1], [0], [1], [0, 1])
    kernel = kind(t)
    y, _ = kernel.forward(
        torch.tensor([[float("nan")], [float("inf")], [float("-inf")]]), [torch.ones(1)], torch.zeros(1)
    )
    assert torch.equal(y.isnan(), torch.tensor([[True], [False], [False]]))
    assert y[1:, 0].tolist() == [float("inf"), 0.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", [TorchWalk, MaskedStages])
def test_cuda_equals_the_cpu(kind: Callable[..., Kernel]) -> None:
    t = random_topology(4, 40, 5, 0.3, [3, 5])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, len(t.inputs), dtype=torch.float64, generator=generator)
    w = torch.randn(t.num_edges, dtype=torch.float64, generator=generator)
    b, dy = x.new_ones(t.num_parameters), x.new_ones(20, len(t.outputs))
    results = []
    for device in ("cpu", "cuda"):
        kernel = kind(t, device=device)
        weights = [weight.to(device) for weight in place(kernel, w)]
        y, saved = kernel.forward(x.to(device), weights, b.to(device))
        dx, dweights, db, _ = kernel.backward(dy.to(device), saved, weights)
        results.append([tensor.cpu() for tensor in (y, dx, *dweights, db)])
    for cpu, cuda in zip(*results, strict=True):
        assert error(cuda, cpu) < 1e-10


@needs_numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_threads_work_again_in_a_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_walk, "_THREAD_WORK", 0)
    t = layered([6, 20, 6], 0.9, 1)
    kernel = NumbaWalk(t)
    weights = list(torch.ones(t.num_edges).split(list(t.splits)))

    def run() -> None:
        torch.set_num_threads(2)
        kernel.forward(torch.ones(200, 6), weights, torch.zeros(t.num_parameters))

    run()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        run()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_bfloat16_runs_on_torch_kernels() -> None:
    t = random_topology(5, 15, 4, 0.5, [3])
    for kernel in (TorchWalk(t), MaskedStages(t)):
        w, b = torch.full((t.num_edges,), 0.5), torch.zeros(t.num_parameters)
        x = torch.ones(4, len(t.inputs))
        expected, _ = kernel.forward(x, place(kernel, w), b)
        y, saved = kernel.forward(x.bfloat16(), place(kernel, w.bfloat16()), b.bfloat16())
        _, dweights, _, _ = kernel.backward(y, saved, place(kernel, w.bfloat16()))
        assert dweights[0].dtype == torch.bfloat16
        assert error(y.float(), expected) < 0.05


@pytest.mark.parametrize("kind", KERNELS)
def test_slopes_are_needed_backward(kind: Callable[[Topology], Kernel]) -> None:
    t = Topology(3, [0, 1], [1, 2], [0, 1, 2], [0], [2], [0, activation("prelu").code, 0])
    kernel = kind(t)
    assert (t.num_computed, t.num_slopes, t.num_parameters, t.slope_index.tolist()) == (2, 1, 3, [-1, 2, -1])
    weights = place(kernel, torch.ones(2))
    with pytest.raises(ShapeError, match=r"expected bias of shape \(3,\), .* no input and 1 slopes, got \(2,\)"):
        kernel.check(torch.ones(1, 1), weights, torch.zeros(2))
    y, saved = kernel.forward(torch.full((1, 1), -2.0), weights, torch.tensor([0.0, 0.0, 0.5]))
    assert y.item() == -1
    with pytest.raises(ArgumentError, match=r"expected bias \(3,\) of the forward pass, because 1 nodes have slopes"):
        kernel.backward(y, saved, weights)


def test_edited_edges_keep_the_kernel() -> None:
    t = random_topology(2, 12, 4, 0.6, [3, 10])
    keep = np.arange(t.num_edges) % 3 > 0
    edited = t.with_edges(t.src[keep], t.dst[keep])
    kinds: list[Kernel] = [TorchWalk(t), MaskedStages(t)] + ([NumbaWalk(t)] if has_numba() else [])
    for kernel in kinds:
        x = torch.ones(2, len(t.inputs))
        kernel.forward(x, place(kernel, torch.ones(t.num_edges)), torch.zeros(t.num_parameters))
        check(kernel.with_topology(edited), 3, torch.float64)


def test_masked_layouts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TooLargeError, match=r"needs 1,250,025,000 weights, 4.7 GB in float32.*use storage='csr'"):
        MaskedStages(Topology(50_001, [], [], np.arange(50_001), [0], [1], np.zeros(50_001, int)))
    with pytest.raises(StructureError, match=r"expected a layered network, .* use the flat layout"):
        MaskedStages(chain(4, 1), layout="layers")
    with pytest.raises(ArgumentError, match=r"expected layout 'flat' or 'layers', got 'rows'"):
        MaskedStages(chain(4, 1), layout="rows")  # type: ignore[arg-type]


def test_tensors_of_another_device_or_dtype_are_refused() -> None:
    t = chain(3, 1)
    with pytest.raises(UnsupportedOperationError, match="built for device cpu, got x on meta"):
        TorchWalk(t).forward(torch.zeros(1, 1, device="meta"), [torch.zeros(3)], torch.zeros(2))


@needs_numba
def test_the_walk_names_dtypes_that_it_cannot_compute() -> None:
    with pytest.raises(UnsupportedOperationError, match=r"computes float32, float64 and bfloat16, got torch.float16"):
        NumbaWalk(chain(3, 1)).saved_shape(1, torch.float16)
