"""SET, RigL and DEEPR on plain dense matrices with plain loops: slow, and written from the papers alone.

A network is a list of weights (n_in, n_out) with masks and biases, tanh in between; or one DAG as a single matrix.
"""

from __future__ import annotations

import math

import numpy as np

Pair = tuple[int, int]


class DenseDAG:
    """One square matrix W (N, N) over nodes in topological order; inputs first, tanh inside, linear outputs."""

    def __init__(self, W: np.ndarray, mask: np.ndarray, bias: np.ndarray, stage: np.ndarray, inputs: int, outputs: int):
        self.W, self.mask, self.bias, self.stage = W.copy(), mask.copy(), bias.copy(), stage
        self.n, self.inputs, self.outputs = len(W), inputs, outputs

    def gradients(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return dW (N, N) of *all* pairs, dbias (N,) and dZ (N, B) of the mean squared error."""
        a = np.zeros((self.n, len(x)))
        a[: self.inputs] = x.T
        first_out = self.n - self.outputs
        for v in range(self.inputs, self.n):
            z = np.full(len(x), self.bias[v])
            for u in range(v):
                if self.mask[u, v]:
                    z = z + self.W[u, v] * a[u]
            a[v] = z if v >= first_out else np.tanh(z)
        da = np.zeros_like(a)
        da[first_out:] = 2 * (a[first_out:] - y.T) / y.size
        dz = np.zeros_like(a)
        for v in range(self.n - 1, self.inputs - 1, -1):
            dz[v] = da[v] if v >= first_out else da[v] * (1 - a[v] ** 2)
            for u in range(v):
                if self.mask[u, v]:
                    da[u] += self.W[u, v] * dz[v]
        return a @ dz.T, dz.sum(1), dz

    def allowed(self, u: int, v: int) -> bool:
        return bool(self.stage[u] < self.stage[v]) and v >= self.inputs


class Layers:
    """Edge sets of an FFN as blocks of one `DenseDAG`: (first source, end, first target, end) each."""

    def __init__(self, sizes: list[int]):
        starts = np.concatenate([[0], np.cumsum(sizes)])
        self.blocks = [(starts[i], starts[i + 1], starts[i + 1], starts[i + 2]) for i in range(len(sizes) - 1)]

    def pairs(self, block: int) -> list[Pair]:
        a, b, c, d = self.blocks[block]
        return [(u, v) for u in range(a, b) for v in range(c, d)]


def by_value(pairs: list[Pair], value: np.ndarray, largest: bool) -> list[Pair]:
    """Return the pairs sorted by value, ties in canonical order."""
    sign = -1 if largest else 1
    return sorted(pairs, key=lambda pair: (sign * value[pair], pair))


def rigl_update(
    net: DenseDAG,
    candidates: list[Pair],
    gradient: np.ndarray,
    step: int,
    alpha: float,
    end: int,
    per_target: bool = False,
) -> tuple[set[Pair], set[Pair]]:
    """Return (edges that went, edges that came) of one RigL update over `candidates`; the mask is changed."""
    active = [pair for pair in candidates if net.mask[pair]]
    fraction = alpha / 2 * (1 + math.cos(math.pi * step / end))
    k = int(fraction * len(active))
    dropped = set(by_value(active, np.abs(net.W), largest=False)[:k])
    keep = set(active) - dropped
    others = by_value([pair for pair in candidates if pair not in keep], np.abs(gradient), largest=True)
    if per_target:
        grown = set()
        for target in range(net.n):
            lost = sum(v == target for _, v in dropped)
            grown |= set([pair for pair in others if pair[1] == target][:lost])
    else:
        grown = set(others[:k])
    went, came = dropped - grown, grown - dropped
    for pair in went:
        net.mask[pair] = False
        net.W[pair] = 0
    for pair in came:
        net.mask[pair] = True
        net.W[pair] = 0
    return went, came


def set_drop(net: DenseDAG, candidates: list[Pair], zeta: float) -> set[Pair]:
    """Return the edges that one SET update removes: the share zeta of each sign nearest to zero."""
    active = [pair for pair in candidates if net.mask[pair]]
    gone: set[Pair] = set()
    for negative in (True, False):
        side = [pair for pair in active if (net.W[pair] < 0) == negative]
        gone |= set(by_value(side, np.abs(net.W), largest=False)[: int(zeta * len(side))])
    return gone


def deepr_step(
    net: DenseDAG, active: list[Pair], theta: np.ndarray, sign: np.ndarray, gradient: np.ndarray, lr: float, l1: float
) -> set[Pair]:
    """Return the edges that become dormant in one DEEPR step without noise; theta and weights are changed."""
    dormant = set()
    for pair in active:
        theta[pair] += -lr * gradient[pair] * sign[pair] - lr * l1
        net.W[pair] = sign[pair] * max(theta[pair], 0)
        if not theta[pair] > 0:
            dormant.add(pair)
            net.mask[pair] = False
    return dormant
