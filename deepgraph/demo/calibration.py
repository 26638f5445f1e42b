"""Calibration: measures on this machine where dense computation overtakes edge values, and writes it to a file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepgraph.demo.result import machine, write_json
from deepgraph.demo.timing import Timings, interleave, threads
from deepgraph.errors import ArgumentError
from deepgraph.kernels.convolution import DenseConvolution
from deepgraph.kernels.masked import MaskedStages
from deepgraph.kernels.numba_walk import NumbaWalk
from deepgraph.kernels.numba_windows import NumbaWindows
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.thresholds import Thresholds, read_thresholds, use_thresholds
from deepgraph.kernels.topology import Topology
from deepgraph.kernels.torch_walk import TorchWalk
from deepgraph.kernels.windows import ConvolutionShape

__all__ = ["calibrate", "crossover", "use_calibration"]

LADDER = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


def crossover(densities: Sequence[float], ratios: Sequence[float]) -> float:
    """Return the density up to which sparse is faster, from the times of dense over sparse on a ladder of densities.

    Between two steps of the ladder the logarithm of the ratio is taken to be linear in that of the density; 0 where
    sparse loses on the first one.

    Raises
    ------
    ArgumentError
        If there are no densities, or not a ratio > 0 for each.

    Examples
    --------
    >>> crossover([0.1, 0.4], [2.0, 0.5])
    0.2
    >>> crossover([0.1, 0.4], [0.9, 0.5]), crossover([0.1, 0.4], [2.0, 1.5])
    (0.0, 0.4)
    """
    if not densities or len(densities) != len(ratios) or min(ratios) <= 0:
        raise ArgumentError(f"expected a ratio > 0 for each density, got {list(ratios)} for {list(densities)}")
    for k, ratio in enumerate(ratios):
        if ratio < 1:
            if k == 0:
                return 0.0
            here, before = math.log(ratio), math.log(ratios[k - 1])
            share = before / (before - here)
            low, high = math.log(densities[k - 1]), math.log(densities[k])
            return round(math.exp(low + share * (high - low)), 4)
    return float(densities[-1])


def calibrate(
    path: str | Path | None = None,
    *,
    width: int = 1000,
    channels: int = 64,
    batch: int = 128,
    rounds: int = 7,
    num_threads: int = 1,
) -> Thresholds:
    """Return the densities up to which edge values are faster here than dense matrices, and make plans go by them.

    Parameters
    ----------
    path : str or Path, optional
        File to write them to, JSON; plans then name it, and `deepgraph.use_calibration(path)` takes it up again.
    width, channels, batch : int
        Of the layer (width x width) and of the convolution (3 x 3, images of 16 x 16) that are measured.
    rounds, num_threads : int

    Notes
    -----
    Forward and backward of one layer, dense and sparse in turns, on a ladder of densities; with 1, 8 and 16 rows the
    forward pass alone. The threshold of CUDA is measured where there is a device, and otherwise stays that of the fixed
    table. Modules that exist keep their plans.

    Raises
    ------
    ArgumentError
        If `rounds` or `num_threads` is below 1.
    OSError
        If the file cannot be written; plans go on as before.

    Examples
    --------
    >>> from deepgraph.kernels.thresholds import use_thresholds
    >>> table = calibrate(width=8, channels=2, batch=4, rounds=1)
    >>> _ = use_thresholds(None)  # back to the fixed table
    >>> 0 <= table.torch <= 1
    True
    """
    with threads(num_threads):
        found = {"torch": _layers(TorchWalk, width, batch, rounds)}
        if has_numba():
            found["numba"] = _layers(NumbaWalk, width, batch, rounds)
            for rows in (1, 8, 16):
                found[f"rows_{rows}"] = _layers(NumbaWalk, width, rows, rounds, trained=False)
            found["windows"] = _windows(channels, batch, rounds)
        if torch.cuda.is_available():
            found["cuda"] = _layers(lambda topology: TorchWalk(topology, "cuda"), width, batch, rounds, "cuda")
    name = "" if path is None else Path(path).name
    table = Thresholds(**found, file=name or "a calibration that was not saved")
    if path is not None:
        protocol = {"width": width, "channels": channels, "batch": batch, "threads": num_threads, "rounds": rounds}
        content = {"csr_up_to": table.to_dict(), "measured": sorted(found), "protocol": protocol, "machine": machine()}
        write_json(Path(path), json.loads(json.dumps(content)))
    use_thresholds(table)
    return table


def use_calibration(path: str | Path | None) -> Thresholds:
    """Make plans go by a file of `calibrate` from now on, or by the fixed table for None, and return the thresholds.

    Raises
    ------
    FileFormatError
        If it is no such file.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> use_calibration(None).numba
    0.5
    """
    table = Thresholds() if path is None else read_thresholds(path)
    use_thresholds(table)
    return table


def _ratios(pairs: Callable[[float], dict[str, Callable[[], object]]], rounds: int) -> list[float]:
    """Return the times of dense over sparse at each density of the ladder; stops after sparse has lost twice."""
    found: list[float] = []
    for density in LADDER:
        timings: Timings = interleave(pairs(density), rounds=rounds, warmup=1)
        found.append(timings.ratio("dense", "sparse").value)
        if len(found) > 1 and max(found[-2:]) < 1:
            break
    return found


def _layers(
    make: Callable[[Topology], Any], width: int, batch: int, rounds: int, device: str = "cpu", trained: bool = True
) -> float:
    """Return the crossover of a layer (width, width), of forward and backward or of the forward pass alone."""
    rng = np.random.default_rng(0)
    x, dy = (torch.randn(batch, width, device=device) for _ in range(2))
    bias = torch.zeros(width, device=device)

    def pairs(density: float) -> dict[str, Callable[[], object]]:
        chosen = np.sort(rng.choice(width * width, max(1, round(density * width * width)), replace=False))
        topology = Topology(
            2 * width, (chosen // width).astype(np.int32), (chosen % width + width).astype(np.int32),
            np.repeat([0, 1], width).astype(np.int32), np.arange(width), np.arange(width, 2 * width),
            np.zeros(2 * width, np.uint8),
        )  # fmt: skip
        masked = MaskedStages(topology, "layers", device)
        values = [torch.randn(len(chosen), device=device)], [torch.zeros(width, width, device=device)]
        return {"sparse": _pass(make(topology), values[0]), "dense": _pass(masked, values[1])}

    def _pass(kernel: Any, weights: list[torch.Tensor]) -> Callable[[], object]:
        def run() -> None:
            if trained:
                kernel.backward(dy, kernel.forward(x, weights, bias)[1], weights)
            else:
                kernel.infer(x, weights, [bias])
            if device != "cpu":
                torch.cuda.synchronize()

        return run

    ratios = _ratios(pairs, rounds)
    return crossover(LADDER[: len(ratios)], ratios)


def _windows(channels: int, batch: int, rounds: int) -> float:
    """Return the crossover of a convolution of 3 x 3 on images of 16 x 16."""
    rng = np.random.default_rng(0)
    shape = ConvolutionShape(channels, channels, (3, 3), padding=(1, 1))
    count = shape.num_sources * channels
    x, dy = (torch.randn(max(1, batch // 4), channels, 16, 16) for _ in range(2))
    bias = torch.zeros(channels)

    def pairs(density: float) -> dict[str, Callable[[], object]]:
        cells = np.sort(rng.choice(count, max(1, round(density * count)), replace=False))
        ends = cells // channels, cells % channels
        dense = DenseConvolution(shape, *ends, masked=True)
        return {
            "sparse": _pass(NumbaWindows(shape, *ends), torch.randn(len(cells))),
            "dense": _pass(dense, torch.zeros(shape.weight_shape)),
        }

    def _pass(kernel: Any, weight: torch.Tensor) -> Callable[[], object]:
        def run() -> None:
            kernel.forward(x, weight, bias)
            kernel.backward(dy, x, weight, True)

        return run

    ratios = _ratios(pairs, rounds)
    return crossover(LADDER[: len(ratios)], ratios)
