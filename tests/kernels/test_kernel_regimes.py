"""Precision, gradients and bytes in every regime: storages, batch sizes, threads, bfloat16, inference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from naive_network import error, layered, random_topology

from deepgraph.errors import DtypeError, ShapeError
from deepgraph.kernels import numba_walk
from deepgraph.kernels.activations import activation
from deepgraph.kernels.base import Kernel
from deepgraph.kernels.masked import MaskedStages
from deepgraph.kernels.numba_walk import NumbaWalk
from deepgraph.kernels.operator import Program
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.topology import Topology
from deepgraph.kernels.torch_walk import TorchWalk

needs_numba = pytest.mark.skipif(not has_numba(), reason="numba is not installed")
BATCHES = [0, 1, 3, 128, 1000]
STORAGES = ["csr", "coo", "masked"]
SHAPES = {
    "wide layers": lambda: layered([60, 80, 70, 10], 0.1, 3),
    "dense layers": lambda: layered([60, 80, 70, 10], 0.6, 3),
    "deep graph": lambda: random_topology(7, 120, 30, 0.15, [3]),
    "few large nodes": lambda: scale_free(150),
    "slopes": lambda: random_topology(3, 60, 6, 0.3, [3, 10]),
}


def scale_free(nodes: int) -> Topology:
    """Return a graph whose first nodes have most of the edges, with nodes without any."""
    rng = np.random.default_rng(0)
    src = np.concatenate([np.full(nodes // (u + 1), u) for u in range(20)])
    dst = np.concatenate([rng.choice(np.arange(20, nodes), nodes // (u + 1), replace=u < 1) for u in range(20)])
    pairs = np.unique(np.c_[src, dst], axis=0)
    stage = np.r_[np.zeros(20), np.ones(nodes - 20)].astype(int)
    return Topology(nodes, pairs[:, 0], pairs[:, 1], stage, np.arange(20), np.arange(20, nodes, 3), np.full(nodes, 3))


def tensors(t: Topology, storage: str, dtype: torch.dtype) -> tuple[Program, list[torch.Tensor], torch.Tensor]:
    """Return a program with small random weights in its layout, and biases."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(t.num_edges, dtype=torch.float64, generator=generator) / 4
    network = Program(t, storage, dtype=dtype)
    parts = list(values.to(dtype).split(list(t.splits)))
    if storage == "masked":
        kernel = network.kernel
        assert isinstance(kernel, MaskedStages)
        index = kernel.edge_index()
        parts = [torch.zeros(shape, dtype=dtype) for shape in kernel.weight_shapes()]
        for weight, places, part in zip(parts, index, values.split([len(i) for i in index]), strict=True):
            weight.view(-1)[torch.from_numpy(places)] = part.to(dtype)
    bias = torch.randn(t.num_parameters, dtype=torch.float64, generator=generator).to(dtype)
    return network, [part.requires_grad_() for part in parts], bias.requires_grad_()


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_gradients_are_within_2e_6_of_float64(shape: str, storage: str, batch: int) -> None:
    t = SHAPES[shape]()
    found = {}
    x = torch.randn(batch, len(t.inputs), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seed = torch.randn(batch, len(t.outputs), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for dtype in (torch.float32, torch.float64):
        network, weights, bias = tensors(t, storage, dtype)
        leaf = x.to(dtype).requires_grad_()
        y = network(leaf, weights, bias)
        y.backward(seed.to(dtype))
        found[dtype] = [y.detach(), leaf.grad, bias.grad, *(w.grad for w in weights)]
    for single, double in zip(found[torch.float32], found[torch.float64], strict=True):
        assert single is not None
        assert double is not None
        if batch:
            assert (single.double() - double).norm() <= 2e-6 * double.norm()
        else:
            assert not single.any()


@pytest.mark.parametrize(
    "name", ["identity", "relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu", "elu", "softplus", "prelu"]
)
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("batch", [1, 3])
def test_gradcheck(storage: str, batch: int, name: str) -> None:
    t = random_topology(2, 12, 4, 0.5, [activation(name).code])
    network, weights, bias = tensors(t, storage, torch.float64)
    x = torch.randn(batch, len(t.inputs), dtype=torch.float64, requires_grad=True)
    if storage != "masked":
        assert torch.autograd.gradcheck(lambda x, b, *w: network(x, w, b), (x, bias, *weights))
    # Entries off the mask are no parameters: their gradient is 0 by definition.
    assert torch.autograd.gradcheck(lambda x, b: network(x, weights, b), (x, bias))


@needs_numba
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [3, 128, 1000])
def test_bytes_do_not_depend_on_threads(shape: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_walk, "_THREAD_WORK", 0)
    t = SHAPES[shape]()
    network, weights, bias = tensors(t, "csr", torch.float32)
    x = torch.randn(batch, len(t.inputs), generator=torch.Generator().manual_seed(1))
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y, saved = network.kernel.forward(x, [w.detach() for w in weights], bias.detach())
            dx, dw, db, _ = network.kernel.backward(y.cos(), saved, [w.detach() for w in weights], bias=bias.detach())
            assert dx is not None
            found.append(b"".join(part.numpy().tobytes() for part in (y, dx, *dw, db)))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@needs_numba
@pytest.mark.parametrize("batch", [1, 4, 33])
@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_values_are_added_up_in_float32(shape: str, batch: int) -> None:
    t = SHAPES[shape]()
    network, weights, bias = tensors(t, "csr", torch.bfloat16)
    assert network.kernel.name == "NumbaWalk"
    assert "bfloat16 are added up in float32" in str(network.plan)
    exact, wide, wide_bias = tensors(t, "csr", torch.float64)
    x = torch.randn(batch, len(t.inputs), generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.no_grad():
        for w, v in zip([*wide, wide_bias], [*weights, bias], strict=True):
            w.copy_(v)
    seed = torch.ones(batch, len(t.outputs))
    y, expected = network(x, weights, bias), exact(x.double(), wide, wide_bias)
    y.backward(seed.bfloat16())
    expected.backward(seed.double())
    # Rounded once, at the end: half a unit in the last place of 8 bits.
    for got, wanted in [(y, expected), *((w.grad, v.grad) for w, v in zip(weights, wide, strict=True))]:
        assert got.dtype == torch.bfloat16
        assert (got.double() - wanted).norm() <= 2**-8 * wanted.norm()
    # Torch's kernel rounds every product and every sum.
    torch_y, _ = TorchWalk(t).forward(x, [w.detach() for w in weights], bias.detach())
    assert error(y.detach().float(), torch_y.float()) < 0.05
    inferred = network.kernel.infer(x, [w.detach() for w in weights], [bias.detach()])
    assert torch.equal(inferred, y)


@pytest.mark.parametrize("kind", [TorchWalk, MaskedStages, pytest.param(NumbaWalk, marks=needs_numba)])
@pytest.mark.parametrize("batch", [0, 1, 2, 3, 5, 8, 9, 16, 17, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inference_has_the_bytes_of_training(kind: type[Kernel], batch: int, dtype: torch.dtype) -> None:
    t = random_topology(4, 60, 6, 0.3, [0, 1, 2, 3, 5, 9])
    kernel = kind(t)
    storage = "masked" if kind is MaskedStages else "csr"
    _, weights, bias = tensors(t, storage, dtype)
    x = torch.randn(batch, len(t.inputs), dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)
    plain = [w.detach() for w in weights]
    y, _ = kernel.forward(x, plain, bias.detach())
    assert torch.equal(kernel.infer(x, plain, [bias.detach()]), y)
    # Columns of a larger matrix are not contiguous.
    wide = torch.cat([x, x], 1)[:, : x.shape[1]]
    assert torch.equal(kernel.infer(wide, plain, [bias.detach()]), y)


@needs_numba
def test_inference_of_layers_with_a_bias_each() -> None:
    t = layered([6, 8, 7, 3], 0.5, 1)
    _, weights, bias = tensors(t, "csr", torch.float32)
    kernel, x = NumbaWalk(t), torch.randn(2, 6)
    plain = [w.detach() for w in weights]
    biases = list(bias.detach().split([8, 7, 3]))
    assert torch.equal(kernel.infer(x, plain, biases), kernel.forward(x, plain, bias.detach())[0])
    with pytest.raises(ShapeError, match="one-dimensional weight tensors with room for"):
        kernel.infer(x, [plain[0][:1], *plain[1:]], biases)
    with pytest.raises(ShapeError, match=r"expected bias of shape \(18,\)"):
        kernel.infer(x, plain, [biases[0], biases[1], biases[2][:1]])
    with pytest.raises(DtypeError, match=r"like the weights, got torch.float32"):
        kernel.infer(x, [plain[0].double(), *plain[1:]], biases)
    # What was refused is not remembered as checked.
    with pytest.raises(ShapeError, match="one-dimensional weight tensors with room for"):
        kernel.infer(x, [plain[0][:1], *plain[1:]], biases)


@needs_numba
def test_inference_sees_what_moved_and_every_batch() -> None:
    t = layered([20, 18, 37], 0.5, 1)
    _, weights, bias = tensors(t, "csr", torch.float32)
    kernel = NumbaWalk(t)
    biases = [part.clone() for part in bias.detach().split([18, 37])]
    plain = [w.detach().clone() for w in weights]
    generator = torch.Generator().manual_seed(1)
    for round_number in range(3):
        for batch in (1, 1, 5, 5, 16, 1):
            x = torch.randn(batch, 20, generator=generator)
            assert torch.equal(kernel.infer(x, plain, biases), kernel.forward(x, plain, torch.cat(biases))[0])
        # New memory, and new numbers in old memory.
        plain = [w + 1 for w in plain] if round_number else [w.add_(1) for w in plain]
        biases = [b.sub_(1) for b in biases] if round_number else [b - 1 for b in biases]
    with pytest.raises(ShapeError, match=r"expected x of shape \(batch, 20\)"):
        kernel.infer(torch.zeros(1, 1, 20), plain, biases)


@needs_numba
def test_threads_may_infer_at_once() -> None:
    t = layered([60, 80, 70], 0.3, 3)
    _, weights, bias = tensors(t, "csr", torch.float32)
    kernel, plain = NumbaWalk(t), [w.detach() for w in weights]
    biases = list(bias.detach().split([80, 70]))
    inputs = list(torch.randn(8, 1, 60, generator=torch.Generator().manual_seed(1)))
    expected = [kernel.infer(x, plain, biases) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            found = list(pool.map(lambda x: kernel.infer(x, plain, biases), inputs))
            assert all(torch.equal(y, wanted) for y, wanted in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", [TorchWalk, MaskedStages, pytest.param(NumbaWalk, marks=needs_numba)])
@pytest.mark.parametrize("batch", [0, 3, 128, 1000])
@pytest.mark.parametrize("shape", ["wide layers", "dense layers", "deep graph"])
def test_gradients_are_the_same_where_nobody_asks_for_those_of_sums(kind: type[Kernel], shape: str, batch: int) -> None:
    t = SHAPES[shape]()
    network, weights, bias = tensors(t, "masked" if kind is MaskedStages else "csr", torch.float32)
    kernel = network.kernel if kind is MaskedStages else kind(t)
    x = torch.randn(batch, len(t.inputs), generator=torch.Generator().manual_seed(1))
    plain = [w.detach() for w in weights]
    y, saved = kernel.forward(x, plain, bias.detach())
    whole = kernel.backward(y.cos(), saved, plain)
    fewer = kernel.backward(y.cos(), saved, plain, need_dz=False)
    assert whole[0] is not None
    assert fewer[0] is not None
    for one, other in zip((whole[0], *whole[1], whole[2]), (fewer[0], *fewer[1], fewer[2]), strict=True):
        assert torch.equal(one, other)


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 3, 8, 16, 40, 128])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 31, 32, 37])
def test_columns_of_any_number_are_copied(width: int, batch: int, dtype: torch.dtype) -> None:
    # One edge of value 1 per column: what goes in comes out, and so do gradients.
    each = np.arange(width)
    t = Topology(2 * width, each, each + width, np.repeat([0, 1], width), each, each + width, np.zeros(2 * width, int))
    x = torch.randn(batch, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)
    kernel, ones = NumbaWalk(t), [torch.ones(width, dtype=dtype)]
    y, saved = kernel.forward(x, ones, torch.zeros(width, dtype=dtype))
    dx, dw, db, _ = kernel.backward(2 * x, saved, ones)
    assert torch.equal(y, x)
    assert dx is not None
    assert torch.equal(dx, 2 * x)
    torch.testing.assert_close(dw[0], (2 * x * x).sum(0))
    torch.testing.assert_close(db, (2 * x).sum(0))


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "silu", "elu", "softplus"])
def test_compiled_functions_are_exact_to_a_few_units(name: str, dtype: torch.dtype) -> None:
    t = Topology(2, [0], [1], [0, 1], [0], [1], [0, activation(name).code])
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64).to(dtype)[:, None]
    y, _ = NumbaWalk(t).forward(x, [x.new_ones(1)], x.new_zeros(1))
    expected = activation(name).forward(x.double())
    unit = torch.finfo(dtype).eps
    # Near a zero of the function or where it dies out, to the unit of the numbers that it is made of.
    scale = torch.maximum(expected.abs(), torch.full_like(expected, 0.25 if name == "gelu" else 0.01))
    assert float(((y.double() - expected) / scale).abs().max()) <= 8 * unit
