"""Convolutions over shifted windows: torch's dense convolution with zeros is the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph.errors import ArgumentError, DtypeError, FileFormatError, MissingDependencyError, ShapeError
from deepgraph.kernels import numba_windows
from deepgraph.kernels.convolution import DenseConvolution
from deepgraph.kernels.convolution_plan import choose_convolution, make_convolution_kernel, make_convolution_plan
from deepgraph.kernels.numba_windows import NumbaWindows
from deepgraph.kernels.plan import choose_storage, has_numba
from deepgraph.kernels.thresholds import Thresholds, read_thresholds, thresholds, use_thresholds
from deepgraph.kernels.windows import ConvolutionShape, make_layout

needs_numba = pytest.mark.skipif(not has_numba(), reason="needs numba")


def edges_of(shape, density, rng):
    """Return random edges in canonical order."""
    pairs = shape.num_sources * shape.out_channels
    cells = np.sort(rng.choice(pairs, int(pairs * density), replace=False))
    return cells // shape.out_channels, cells % shape.out_channels


def compare(shape, size, batch, density, dtype, seed=0):
    """Return the largest relative difference of results and gradients from those of a dense convolution."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    src, dst = edges_of(shape, density, rng)
    x = torch.randn(batch, shape.in_channels, *size, generator=generator, dtype=dtype)
    # Two elements more than edges: the room at the end of a parameter.
    weight = torch.randn(len(src) + 2, generator=generator, dtype=dtype)
    bias = torch.randn(shape.out_channels, generator=generator, dtype=dtype)
    windows, dense = NumbaWindows(shape, src, dst), DenseConvolution(shape, src, dst, masked=False)
    flat = torch.zeros(shape.out_channels * shape.num_sources, dtype=torch.float64)
    flat[torch.from_numpy(dst * shape.num_sources + src)] = weight[: len(src)].double()
    full = flat.view(shape.weight_shape).requires_grad_()
    wide = x.double().requires_grad_()
    shifts = bias.double().requires_grad_()
    exact = torch.conv2d(wide, full, shifts, shape.stride, shape.padding, shape.dilation, shape.groups)
    dy = torch.randn(exact.shape, generator=generator, dtype=dtype)
    exact.backward(dy.double())
    places = torch.from_numpy(dst * shape.num_sources + src)
    wanted = [exact.detach(), wide.grad, torch.cat([full.grad.reshape(-1)[places], torch.zeros(2)]), shifts.grad]
    worst = 0.0
    for kernel in (windows, dense):
        y = kernel.forward(x, weight, bias)
        found = [y, *kernel.backward(dy, x, weight, True)]
        for one, other in zip(found, wanted, strict=True):
            assert one.shape == other.shape
            assert one.dtype == dtype
            worst = max(worst, float((one.double() - other).norm() / max(float(other.norm()), 1.0)))
        assert kernel.backward(dy, x, weight, False)[0] is None
    return worst


sizes = st.tuples(st.integers(1, 3), st.integers(1, 3))


@needs_numba
@settings(max_examples=40)
@given(
    st.integers(1, 3), sizes, sizes, sizes, st.tuples(st.integers(0, 2), st.integers(0, 2)), st.integers(0, 9),
    st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 1000),
)  # fmt: skip
def test_windows_compute_a_convolution_with_zeros(groups, kernel, stride, dilation, padding, batch, density, seed):
    shape = ConvolutionShape(2 * groups, 3 * groups, kernel, stride, padding, dilation, groups)
    size = (7 + seed % 5, 7 + seed % 3)
    assert compare(shape, size, batch, density, torch.float64, seed) < 1e-13


@needs_numba
@pytest.mark.parametrize("batch", [0, 1, 3, 128, 1000])
def test_float32_is_exact_to_rounding(batch):
    shape = ConvolutionShape(16, 24, (3, 3), padding=(1, 1))
    assert compare(shape, (9, 10), batch, 0.1, torch.float32) < 2e-6


@needs_numba
def test_results_do_not_depend_on_threads():
    shape = ConvolutionShape(16, 32, (3, 3), padding=(1, 1))
    src, dst = edges_of(shape, 0.2, np.random.default_rng(0))
    kernel = NumbaWindows(shape, src, dst)
    x, dy = torch.randn(64, 16, 16, 16), torch.randn(64, 32, 16, 16)
    weight, bias = torch.randn(len(src)), torch.zeros(32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append([kernel.forward(x, weight, bias), *kernel.backward(dy, x, weight, True)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_masked_gradients_are_zero_off_the_edges_also_where_they_are_not_finite():
    shape = ConvolutionShape(2, 3, (2, 2))
    src, dst = edges_of(shape, 0.5, np.random.default_rng(0))
    kernel = DenseConvolution(shape, src, dst, masked=True)
    weight = torch.zeros(shape.weight_shape)
    x, dy = torch.full((1, 2, 3, 3), float("inf")), torch.ones(1, 3, 2, 2)
    gradient = kernel.backward(dy, x, weight, False)[1].reshape(3, -1)
    on = torch.zeros(3, 8, dtype=torch.bool)
    on[dst, src] = True
    assert not gradient[~on].any()
    assert gradient[on].isinf().all()


@needs_numba
def test_the_gradient_of_all_pairs_is_that_of_the_dense_weight():
    shape = ConvolutionShape(4, 6, (3, 3), padding=(1, 1), groups=2)
    src, dst = edges_of(shape, 0.3, np.random.default_rng(0))
    kernel = NumbaWindows(shape, src, dst)
    x, dy = torch.randn(5, 4, 6, 7, dtype=torch.float64), torch.randn(5, 6, 6, 7, dtype=torch.float64)
    weight = torch.randn(len(src), dtype=torch.float64)
    every = kernel.dense_gradient(dy, x)
    assert every.shape == (18, 6)
    torch.testing.assert_close(every[src, dst], kernel.backward(dy, x, weight, False)[1])


def test_what_does_not_fit_is_refused(monkeypatch):
    shape = ConvolutionShape(2, 3, (3, 3))
    with pytest.raises(ShapeError, match=r"expected images of at least 3 rows and 3 columns .* got 2 and 5"):
        shape.output_size(2, 5)
    none = np.empty(0, np.int64)
    kernel = DenseConvolution(shape, none, none, masked=False)
    with pytest.raises(ShapeError, match=r"expected x of shape \(batch, 2, H, W\), got \(1, 3, 5, 5\)"):
        kernel.check(torch.zeros(1, 3, 5, 5), torch.zeros(0), torch.zeros(3))
    with pytest.raises(DtypeError, match=r"expected x of dtype torch.float32 on cpu like the weights"):
        kernel.check(torch.zeros(1, 2, 5, 5).double(), torch.zeros(0), torch.zeros(3))
    with pytest.raises(ArgumentError, match=r"expected a density in \[0, 1\], got 2"):
        choose_convolution(2, shape)
    monkeypatch.setattr(numba_windows, "has_numba", lambda: False)
    with pytest.raises(MissingDependencyError, match="NumbaWindows needs numba"):
        NumbaWindows(shape, none, none)


def test_plans_of_convolutions_say_what_runs_and_why():
    shape = ConvolutionShape(64, 64, (3, 3))
    few = make_convolution_plan("c", shape, 1843, "csr", automatic=True, numba_available=True)
    assert few.parts[0].kernel == "NumbaWindows"
    assert "shifted windows of edge values because 5.00% of the pairs are edges" in str(few)
    many = make_convolution_plan("c", shape, 64 * 576, "masked", automatic=False, numba_available=True)
    assert (many.parts[0].kernel, many.parts[0].storage) == ("DenseConvolution", "dense")
    slow = make_convolution_plan("c", shape, 1843, "csr", automatic=False, numba_available=False)
    assert "put into a dense weight at each call, because numba is not installed" in str(slow)
    cuda = make_convolution_plan("c", shape, 1843, "csr", automatic=False, device="cuda:0", numba_available=True)
    assert "there are no shifted windows of float32 on cuda:0" in str(cuda)
    none = np.empty(0, np.int64)
    assert make_convolution_kernel(slow, shape, none, none).name == "DenseConvolution"
    assert choose_convolution(0.05, shape, device="cuda:0") == "masked"
    assert choose_convolution(0.05, shape, numba_available=False) == "masked"


def test_a_layout_does_not_put_planes_where_caches_collide():
    layout = make_layout(ConvolutionShape(4, 4, (1, 1)), 32, 32, 128, 4)
    assert layout.stride * 4 % 4096


def test_thresholds_of_a_file_decide_and_are_named(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"csr_up_to": {"numba": 0.3, "torch": 0.1, "cuda": 0.1, "windows": 0.02}}')
    table = read_thresholds(path)
    assert table.file == "mine.json"
    shape = ConvolutionShape(64, 64, (3, 3))
    before = use_thresholds(table)
    try:
        assert thresholds() is table
        assert choose_storage(0.4, numba_available=True) == "masked"
        assert choose_convolution(0.05, shape, numba_available=True) == "masked"
        plan = make_convolution_plan("c", shape, 9, "masked", automatic=True, calibration="mine.json")
        assert "because 0.02% of the pairs are edges, by mine.json" in str(plan)
    finally:
        use_thresholds(before)
    assert choose_storage(0.4, numba_available=True) == "csr"
    assert Thresholds.from_dict(table.to_dict(), "") == Thresholds(0.3, 0.1, 0.1, 0.02)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no", "expected a file of deepgraph.calibrate, got no JSON"),
        ("[1]", "expected a file of deepgraph.calibrate, got other content"),
        ('{"csr_up_to": {"numba": 7}}', r"expected densities in \[0, 1\] named cuda, numba, rows_1, .* windows"),
    ],
)
def test_files_that_are_no_thresholds(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_thresholds(tmp_path / "a.json")
