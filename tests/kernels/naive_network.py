"""An independent reference: one neuron at a time with torch autograd, and random topologies to run it on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from deepgraph.kernels.activations import activation
from deepgraph.kernels.topology import Topology


@dataclass
class Reference:
    """What one forward and backward pass gives, by position."""

    y: Tensor
    outputs: Tensor
    dx: Tensor
    dw: Tensor
    db: Tensor
    dz: Tensor


def run_naively(t: Topology, x: Tensor, w: Tensor, b: Tensor, dy: Tensor | None = None) -> Reference:
    """Return all outputs and gradients of a network, computed neuron by neuron under autograd."""
    x, w, b = (tensor.detach().clone().requires_grad_(True) for tensor in (x, w, b))
    inputs = set(t.inputs.tolist())
    number = iter(range(t.num_parameters))
    bias_of = {v: next(number) for v in range(t.num_nodes) if v not in inputs}
    slope_of = {v: next(number) for v in bias_of if activation(int(t.activation[v])).has_slope}
    incoming: dict[int, list[tuple[int, int]]] = {v: [] for v in range(t.num_nodes)}
    for e, (u, v) in enumerate(zip(t.src.tolist(), t.dst.tolist(), strict=True)):
        incoming[v].append((e, u))
    outputs: dict[int, Tensor] = {}
    sums: dict[int, Tensor] = {}
    for v in sorted(range(t.num_nodes), key=lambda v: t.stage[v]):
        if v in inputs:
            outputs[v] = torch.stack([x[:, i] for i in range(x.shape[1]) if t.inputs[i] == v]).sum(0)
            continue
        z = b[bias_of[v]] + x.new_zeros(x.shape[0])
        if incoming[v]:
            edges, sources = zip(*incoming[v], strict=True)
            terms = w[list(edges)].unsqueeze(1) * torch.stack([outputs[u] for u in sources])
            code = int(t.reduce[v])
            z = z + (terms.sum(0) if code == 0 else terms.max(0).values if code == 1 else terms.prod(0))
        sums[v] = z
        slope = (b[slope_of[v]],) if v in slope_of else ()
        outputs[v] = activation(int(t.activation[v])).forward(z, *slope)
    columns = [outputs[v] for v in t.outputs.tolist()]
    y = torch.stack(columns, 1) if columns else x.new_zeros(x.shape[0], 0)
    dy = torch.zeros_like(y) if dy is None else dy
    wanted = (x, w, b, *sums.values())
    found = [None] * len(wanted)
    if y.requires_grad:
        found = list(torch.autograd.grad(y, wanted, dy, allow_unused=True))
    gx, gw, gb, *gz = [g if g is not None else torch.zeros_like(p) for g, p in zip(found, wanted, strict=True)]
    dz = x.new_zeros(t.num_nodes, x.shape[0])
    for v, g in zip(sums, gz, strict=True):
        if t.reduce[v] == 0:
            dz[v] = g
    stacked = torch.stack([outputs[v] for v in range(t.num_nodes)])
    return Reference(y.detach(), stacked.detach(), gx, gw, gb, dz.detach())


def random_topology(
    seed: int, nodes: int, stages: int, density: float, codes: list[int], outputs: int = 3, reduces: int = 1
) -> Topology:
    """Return a random network: stages and roles in random node order, repeated inputs and outputs, isolated nodes.

    `reduces` is 1 for sums only, 3 for sums, maxima and products.
    """
    rng = np.random.default_rng(seed)
    stage = rng.integers(0, stages, nodes)
    inputs = rng.choice(nodes, max(1, nodes // 4), replace=False)
    is_input = np.isin(np.arange(nodes), inputs)
    pair = (stage[:, None] < stage[None, :]) & ~is_input[None, :] & (rng.random((nodes, nodes)) < density)
    src, dst = np.nonzero(pair)
    return Topology(
        nodes,
        src,
        dst,
        stage,
        np.r_[inputs, inputs[: rng.integers(0, 3)]],
        rng.integers(0, nodes, outputs),
        rng.choice(codes, nodes),
        reduce=rng.integers(0, reduces, nodes).astype(np.uint8),
    )


def chain(depth: int, code: int) -> Topology:
    """Return a network of `depth` stages of one neuron with skip edges over one stage."""
    src = np.r_[np.arange(depth - 1), np.arange(depth - 2)]
    dst = np.r_[np.arange(1, depth), np.arange(2, depth)]
    order = np.lexsort((dst, src))
    return Topology(depth, src[order], dst[order], np.arange(depth), [0], [depth - 1], np.full(depth, code))


def layered(sizes: list[int], density: float, code: int, seed: int = 0) -> Topology:
    """Return a feed-forward network with one weight tensor per pair of layers."""
    rng = np.random.default_rng(seed)
    starts = np.r_[0, np.cumsum(sizes)]
    src, dst, splits = [], [], []
    for k in range(len(sizes) - 1):
        u, v = np.nonzero(rng.random((sizes[k], sizes[k + 1])) < density)
        src.append(u + starts[k])
        dst.append(v + starts[k + 1])
        splits.append(len(u))
    stage = np.repeat(np.arange(len(sizes)), sizes)
    return Topology(
        int(starts[-1]),
        np.concatenate(src),
        np.concatenate(dst),
        stage,
        np.arange(sizes[0]),
        np.arange(starts[-2], starts[-1]),
        np.where(stage == len(sizes) - 1, 0, code),
        splits=tuple(splits),
    )


@st.composite
def topologies(draw: st.DrawFn, codes: list[int]) -> Topology:
    """Draw a random network of 1 to 25 nodes."""
    return random_topology(
        draw(st.integers(0, 2**16)),
        draw(st.integers(1, 25)),
        draw(st.integers(1, 8)),
        draw(st.sampled_from([0.0, 0.1, 0.4, 1.0])),
        draw(st.lists(st.sampled_from(codes), min_size=1, max_size=4)),
        draw(st.integers(0, 5)),
    )


def error(got: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference relative to the norm expected (absolute where that is below 1)."""
    if got.shape != expected.shape:
        raise AssertionError(f"shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    if got.numel() == 0:
        return 0.0
    return float((got.double() - expected.double()).norm() / max(1.0, float(expected.double().norm())))
