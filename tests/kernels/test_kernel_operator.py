"""The operator: autograd, torch.compile, edits between forward and backward, and captured factors."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest
import torch
from naive_network import error, layered, random_topology, run_naively

from deepgraph.errors import ArgumentError, DtypeError, EditRefusedError, ShapeError, UnsupportedOperationError
from deepgraph.kernels.operator import Program, program
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.topology import Topology

STORAGES = ["csr", "masked"]


def small() -> Topology:
    return Topology(4, [0, 0, 1, 2], [2, 3, 3, 3], [0, 0, 1, 2], [0, 1], [3], [0, 0, 3, 0])


def parameters(network: Program, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    t = network.topology
    count = t.num_edges if network.plan.parts[0].storage == "csr" else network.kernel.weight_shapes()[0][0]
    x = torch.randn(5, len(t.inputs), dtype=network.dtype, generator=generator)
    w = torch.randn(count, dtype=network.dtype, generator=generator)
    if network.plan.parts[0].storage == "masked":
        mask = torch.zeros_like(w)
        mask[torch.from_numpy(network.kernel.edge_index()[0])] = 1
        w = w * mask
    b = torch.randn(t.num_parameters, dtype=network.dtype, generator=generator)
    return x, w.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("storage", STORAGES)
def test_gradients_pass_gradcheck(storage: str) -> None:
    network = Program(small(), storage, "flat", dtype=torch.float64)
    x, w, b = parameters(network)
    on = torch.ones_like(w) if storage == "csr" else (w != 0).double()
    assert torch.autograd.gradcheck(lambda x, w, b: network(x, [w * on], b), (x.requires_grad_(), w, b))


@pytest.mark.parametrize("storage", STORAGES)
def test_the_operator_passes_opcheck(storage: str) -> None:
    network = Program(small(), storage, "flat")
    x, w, b = parameters(network)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.deepgraph.graph.default, (x, [w], b, network.handle), test_utils=tests)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_compiled_module_sees_one_operator(storage: str) -> None:
    network = Program(small(), storage, "flat")
    x, w, b = parameters(network)

    def step(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.ops.deepgraph.graph(x * 2, [w], b, network.handle)[0].sum()

    expected = torch.autograd.grad(step(x, w, b), (w, b))
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    for got, wanted in zip(torch.autograd.grad(compiled(x, w, b), (w, b)), expected, strict=True):
        assert torch.equal(got, wanted)
    assert not network.pending()


def test_an_unused_result_and_an_expanded_gradient() -> None:
    network = Program(small(), "csr")
    x, w, b = parameters(network)
    network(x, [w], b)
    network(x, [w], b).sum().backward()
    assert w.grad is not None
    assert w.grad.abs().sum() > 0
    assert x.grad is None


def test_second_order_gradients_are_refused() -> None:
    network = Program(small(), "csr")
    x, w, b = parameters(network)
    (grad,) = torch.autograd.grad(network(x, [w], b).square().sum(), w, create_graph=True)
    with pytest.raises(UnsupportedOperationError, match=r"second-order gradients .* not supported"):
        grad.sum().backward()


@pytest.mark.parametrize("storage", STORAGES)
def test_an_edit_between_forward_and_backward_is_refused(storage: str) -> None:
    network = Program(small(), storage, "flat")
    t = network.topology
    edited = t.with_edges(t.src[1:], t.dst[1:])
    x, w, b = parameters(network)
    loss = network(x, [w], b).sum()
    assert network.pending()
    with pytest.raises(EditRefusedError, match=r"expected no edit between forward and backward.*call backward"):
        network.replace_topology(edited)
    assert network.topology is t
    loss.backward()
    assert not network.pending()
    network.replace_topology(edited)
    assert network.version == 1
    assert network.topology is edited


def test_a_dropped_result_and_inference_leave_nothing_pending() -> None:
    network = Program(small(), "csr")
    x, w, b = parameters(network)
    y = network(x, [w], b)
    assert network.pending()
    del y
    gc.collect()
    assert not network.pending()
    with torch.no_grad():
        kept = [network(x, [w], b) for _ in range(40)]
    assert len(kept) == 40
    assert not network.pending()


def test_a_backward_after_an_edit_names_the_cause() -> None:
    network = Program(small(), "csr")
    t = network.topology
    x, w, b = parameters(network)
    loss = network(x, [w], b).sum()
    loss.backward(retain_graph=True)
    assert not network.pending()
    network.replace_topology(t.with_edges(t.src, t.dst), cause="RigL replaced 3 edges")
    with pytest.raises(EditRefusedError, match=r"before 1 edits, the last one because RigL replaced 3 edges"):
        loss.backward()


@pytest.mark.parametrize("storage", STORAGES)
def test_armed_backward_passes_capture_the_factors_of_all_gradients(storage: str) -> None:
    t = random_topology(7, 14, 4, 0.4, [3, 5])
    network = Program(t, storage, "flat", dtype=torch.float64)
    x, w, b = parameters(network)
    flat = w.detach() if storage == "csr" else w.detach()[torch.from_numpy(network.kernel.edge_index()[0])]
    network(x, [w], b).sum().backward()
    assert network.captured == []
    network.armed = True
    for _ in range(2):
        network(x, [w], b).sum().backward()
    reference = run_naively(t, x, flat, b.detach(), torch.ones(5, len(t.outputs), dtype=torch.float64))
    assert len(network.captured) == 2
    for a, dz in network.captured:
        assert error(a, reference.outputs) < 1e-12
        assert error(dz, reference.dz) < 1e-12


def test_handles_live_as_long_as_their_program() -> None:
    network = Program(small(), "csr")
    handle = network.handle
    assert program(handle) is network
    x, w, b = parameters(network)
    del network
    gc.collect()
    with pytest.raises(ArgumentError, match=rf"handle {handle} stands for no live program"):
        torch.ops.deepgraph.graph(x, [w], b, handle)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_is_a_program_of_its_own(copier: object) -> None:
    network = Program(layered([3, 4, 2], 0.6, 1), "masked")
    twin = copier(network)  # type: ignore[operator]
    assert twin.handle != network.handle
    assert twin.plan == network.plan
    assert np.array_equal(twin.topology.src, network.topology.src)


def test_wrong_tensors_are_named() -> None:
    network = Program(small(), "csr")
    x, w, b = (tensor.detach() for tensor in parameters(network))
    with pytest.raises(ShapeError, match=r"expected x of shape \(batch, 2\), one column per input, got \(5, 3\)"):
        network(torch.zeros(5, 3), [w], b)
    with pytest.raises(ShapeError, match=r"expected bias of shape \(2,\).*got \(3,\)"):
        network(x, [w], torch.zeros(3))
    with pytest.raises(ShapeError, match=r"expected 1 one-dimensional weight tensors with room for \(4,\) edges"):
        network(x, [w[:2]], b)
    with pytest.raises(ShapeError, match=r"one-dimensional weight tensors"):
        network(x, [w, w], b)
    with pytest.raises(DtypeError, match=r"expected x of dtype torch.float32 like the weights, got torch.float64"):
        network(x.double(), [w], b)
    with pytest.raises(DtypeError, match=r"on device cpu like the weights, got meta"):
        network(x.to("meta"), [w], b)
    masked = Program(small(), "masked", "flat")
    with pytest.raises(ShapeError, match=r"expected masked weights of shapes \[\(5,\)\], got \[\(4,\)\]"):
        masked(x, [w], b)


@pytest.mark.skipif(not has_numba(), reason="numba is not installed")
def test_storages_and_kernels_agree() -> None:
    t = layered([20, 30, 5], 0.3, 4)
    csr, masked = Program(t, "csr"), Program(t, "masked")
    assert (csr.kernel.name, masked.kernel.name) == ("NumbaWalk", "MaskedStages")
    x, b = torch.randn(9, 20, generator=torch.Generator().manual_seed(1)), torch.zeros(t.num_parameters)
    w = torch.randn(t.num_edges, generator=torch.Generator().manual_seed(2))
    matrices = [torch.zeros(shape) for shape in masked.kernel.weight_shapes()]
    parts = w.split(list(t.splits))
    for matrix, index, part in zip(matrices, masked.kernel.edge_index(), parts, strict=True):
        matrix.view(-1)[torch.from_numpy(index)] = part
    assert error(csr(x, list(parts), b), masked(x, matrices, b)) < 1e-6
