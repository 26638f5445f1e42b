"""Plans of sparse convolutions: shifted windows of edge values, or torch's dense convolution, and why."""

from __future__ import annotations

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array
from deepgraph.kernels.convolution import ConvolutionKernel, DenseConvolution
from deepgraph.kernels.numba_windows import NumbaWindows
from deepgraph.kernels.plan import NOMINAL_BATCH, Plan, PlanPart, WeightSet, has_numba
from deepgraph.kernels.thresholds import Thresholds, thresholds
from deepgraph.kernels.windows import ConvolutionShape

__all__ = ["choose_convolution", "make_convolution_kernel", "make_convolution_plan"]

_FEWEST_SOURCES = 24
"""Entries of a window below which laying out images costs more than the edges save: depthwise convolutions."""


def choose_convolution(
    density: float,
    shape: ConvolutionShape,
    *,
    device: str = "cpu",
    numba_available: bool | None = None,
    table: Thresholds | None = None,
) -> str:
    """Return "csr" or "masked", whichever computes faster.

    Parameters
    ----------
    density : float
        Edges over pairs, in [0, 1].
    shape : ConvolutionShape
    device : str
    numba_available : bool, optional
        Default: whether numba can be imported.
    table : Thresholds, optional
        Default: those in use, see `deepgraph.calibrate`.

    Raises
    ------
    ArgumentError
        If density is outside [0, 1].

    Examples
    --------
    >>> body, depthwise = ConvolutionShape(64, 64, (3, 3)), ConvolutionShape(64, 64, (3, 3), groups=64)
    >>> [choose_convolution(0.05, shape, numba_available=True) for shape in (body, depthwise)]
    ['csr', 'masked']
    """
    if not 0 <= density <= 1:
        raise ArgumentError(f"expected a density in [0, 1], got {density!r}")
    compiled = has_numba() if numba_available is None else numba_available
    limit = (table or thresholds()).windows
    wins = compiled and not device.startswith("cuda") and shape.num_sources >= _FEWEST_SOURCES
    return "csr" if wins and density <= limit else "masked"


def make_convolution_plan(
    name: str,
    shape: ConvolutionShape,
    edges: int,
    storage: str,
    *,
    automatic: bool,
    calibration: str = "",
    dtype: str = "float32",
    device: str = "cpu",
    numba_available: bool | None = None,
    batch: int = NOMINAL_BATCH,
) -> Plan:
    """Return the plan of one convolution.

    Parameters
    ----------
    name : str
        Of its edge set.
    shape : ConvolutionShape
    edges : int
    storage : {"csr", "masked"}
    automatic : bool
        Whether `choose_convolution` chose it.
    calibration : str
        Name of the file of thresholds that it went by.
    dtype, device : str
        As torch names them.
    numba_available : bool, optional
        Default: whether numba can be imported.
    batch : int
        Places of the result that operations are counted for.

    Examples
    --------
    >>> plan = make_convolution_plan("conv", ConvolutionShape(8, 8, (3, 3)), 29, "csr", automatic=True,
    ...                              numba_available=True)
    >>> plan.parts[0].kernel, plan.parts[0].multiply_adds
    ('NumbaWindows', 11136)
    """
    compiled = has_numba() if numba_available is None else numba_available
    pairs = shape.out_channels * shape.num_sources
    itemsize = {"float64": 8, "bfloat16": 2, "float16": 2}.get(dtype, 4)
    density = edges / max(1, pairs)
    kernel, notes, work = (
        "DenseConvolution",
        [f"operations are counted for {batch} places of the result"],
        pairs,
    )
    if storage == "csr" and compiled and device == "cpu" and dtype in ("float32", "float64"):
        kernel, work = "NumbaWindows", edges
    elif storage == "csr":
        reason = "numba is not installed" if not compiled else f"there are no shifted windows of {dtype} on {device}"
        notes.append(f"edge values are put into a dense weight at each call, because {reason}: slower than masked")
    chosen = "shifted windows of edge values" if storage == "csr" else "a dense convolution"
    why = f"storage {storage} as asked"
    if automatic:
        why = f"{chosen} because {density:.2%} of the pairs are edges" + (f", by {calibration}" if calibration else "")
    per_weight = 3 * itemsize + 12 if storage == "csr" else 2 * itemsize + 1
    part = PlanPart(
        name=name,
        storage="dense" if storage == "masked" and edges == pairs else storage,
        layout="windows",
        kernel=kernel,
        dtype=dtype,
        device=device,
        weights=(WeightSet(name, edges, pairs),),
        tile=256 // itemsize if kernel == "NumbaWindows" else 0,
        groups=0,
        multiply_adds=3 * work * batch,
        bytes=(edges if storage == "csr" else pairs) * per_weight,
        why=why,
        notes=tuple(notes),
        batch=batch,
    )
    return Plan((part,))


def make_convolution_kernel(plan: Plan, shape: ConvolutionShape, src: Array, dst: Array) -> ConvolutionKernel:
    """Return the kernel that a plan names, for edges (E,) in canonical order.

    Raises
    ------
    MissingDependencyError
        If it needs numba, which is not installed.
    """
    part = plan.parts[0]
    if part.kernel == "NumbaWindows":
        return NumbaWindows(shape, src, dst)
    return DenseConvolution(shape, src, dst, masked=part.storage != "csr")
