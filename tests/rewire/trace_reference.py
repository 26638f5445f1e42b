"""Every rewiring algorithm on one small state, with plain loops over pairs, written from the papers alone.

    python tests/rewire/trace_reference.py

writes `traces/<algorithm>.json`: state, gradients and random draws, and the edges after each of five updates. The state
is three layers of weights (R, C); a gradient of every pair and all random draws are given for each of ten steps. Steps
2, 4, ... 10 are updates; the walks of DEEPR and soft-DEEPR update at every step and are recorded at the same ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "traces"
SHAPES = ((6, 7), (7, 5), (5, 4))
STEPS, EVERY, UNTIL, LR = 10, 2, 20, 0.1

Pair = tuple[int, int]
Net = list[dict[Pair, float]]
"""For each layer the weight of every edge."""


def state(seed: int = 0) -> dict[str, Any]:
    """Return weights, gradients and draws as matrices of numbers with four digits, None where there is no edge."""
    rng = np.random.default_rng(seed)

    def numbers(kind: Callable[..., Any], *options: float) -> list[Any]:
        return [np.round(kind(*options, shape), 4).tolist() for shape in SHAPES]

    weights = []
    for shape in SHAPES:
        present, values = rng.random(shape) < 0.5, np.round(rng.normal(0, 0.3, shape), 4)
        values[values == 0] = 0.05
        weights.append(
            [[v if p else None for v, p in zip(*row, strict=True)] for row in zip(values, present, strict=True)]
        )
    return {
        "weights": weights,
        "signs": [rng.choice([-1.0, 1.0], shape).tolist() for shape in SHAPES],
        "start": numbers(rng.uniform, 0, 1),
        "gradients": [numbers(rng.normal, 0, 0.5) for _ in range(STEPS)],
        "drop_draws": [numbers(rng.uniform, 0.01, 0.99) for _ in range(STEPS)],
        "grow_draws": [numbers(rng.uniform, 0.01, 0.99) for _ in range(STEPS)],
        "noise": [numbers(rng.normal, 0, 1) for _ in range(STEPS)],
    }


def pairs_of(layer: int) -> list[Pair]:
    return [(u, v) for u in range(SHAPES[layer][0]) for v in range(SHAPES[layer][1])]


def net_of(given: dict[str, Any]) -> Net:
    found: Net = []
    for layer, matrix in enumerate(given["weights"]):
        found.append({(u, v): matrix[u][v] for u, v in pairs_of(layer) if matrix[u][v] is not None})
    return found


def at(matrices: Any, layer: int) -> Callable[[Pair], float]:
    return lambda pair: matrices[layer][pair[0]][pair[1]]


def sgd(net: Net, gradients: Any) -> None:
    for layer, edges in enumerate(net):
        for pair in edges:
            edges[pair] -= LR * at(gradients, layer)(pair)


def cosine(step: int, alpha: float) -> float:
    return alpha / 2 * (1 + math.cos(math.pi * step / UNTIL))


def first(pairs: Any, count: int, key: Callable[[Pair], Any]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (key(pair), pair))[:count]


def replace(edges: dict[Pair, float], gone: Any, grown: Any) -> None:
    for pair in gone:
        del edges[pair]
    for pair in grown:
        edges[pair] = 0.0


def free_of(edges: dict[Pair, float], layer: int, gone: Any = ()) -> list[Pair]:
    return [pair for pair in pairs_of(layer) if pair not in edges or pair in gone]


# -- the algorithms: each changes the net at one step ------------------------------------------------------------------


def static(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    sgd(net, given["gradients"][step - 1])


def set_(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Mocanu 2018: the share 0.3 of each sign nearest to zero goes, as many random places come."""
    sgd(net, given["gradients"][step - 1])
    for layer, edges in enumerate(net if step % EVERY == 0 else ()):
        gone: list[Pair] = []
        for negative in (True, False):
            side = [pair for pair in edges if (edges[pair] < 0) == negative]
            gone += first(side, int(0.3 * len(side)), lambda pair, edges=edges: abs(edges[pair]))
        draw = at(given["grow_draws"][step - 1], layer)
        grown = first(free_of(edges, layer, gone), len(gone), lambda pair, draw=draw: -draw(pair))
        replace(edges, gone, grown)


def rigl(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Evci 2020: the update replaces the step; regrown edges keep their weight."""
    gradients = given["gradients"][step - 1]
    if step % EVERY:
        sgd(net, gradients)
        return
    for layer, edges in enumerate(net):
        k, gradient = int(cosine(step, 0.3) * len(edges)), at(gradients, layer)
        gone = first(edges, k, lambda pair, edges=edges: abs(edges[pair]))
        grown = first(free_of(edges, layer, gone), k, lambda pair, gradient=gradient: -abs(gradient(pair)))
        replace(edges, [pair for pair in gone if pair not in grown], [pair for pair in grown if pair not in gone])


def srigl(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Lasby 2024: as rigl, with one fan-in for all neurons of a layer; those with few salient edges get none."""
    gradients = given["gradients"][step - 1]
    if step % EVERY:
        for layer, edges in enumerate(net):
            memory.setdefault(layer, len(edges))
        sgd(net, gradients)
        return
    for layer, edges in enumerate(net):
        (rows, columns), budget = SHAPES[layer], memory[layer]
        k, gradient = int(cosine(step, 0.3) * len(edges)), at(gradients, layer)
        low = first(edges, k, lambda pair, edges=edges: abs(edges[pair]))
        stay = [pair for pair in edges if pair not in low]
        noted = first(free_of(edges, layer, low), k, lambda pair, gradient=gradient: -abs(gradient(pair)))
        salient = [sum(pair[1] == v for pair in [*stay, *noted]) for v in range(columns)]
        lives = [layer == len(net) - 1 or salient[v] >= 0.3 * rows for v in range(columns)]
        # At least as many neurons live as it takes to hold the edges, and at most as many as there are edges.
        count = min(max(sum(lives), math.ceil(budget / rows)), budget)
        order = sorted(range(columns), key=lambda v, s=salient, lives=lives: (not lives[v], -s[v], v))
        fan_in = min(rows, budget // count)
        after: dict[Pair, float] = {}
        for v in order[:count]:
            mine = sorted((p for p in stay if p[1] == v), key=lambda p, edges=edges: (-abs(edges[p]), p))[:fan_in]
            others = [(u, v) for u in range(rows) if (u, v) not in mine]
            mine += first(others, fan_in - len(mine), lambda pair, gradient=gradient: -abs(gradient(pair)))
            after.update({pair: edges.get(pair, 0.0) for pair in mine})
        edges.clear()
        edges.update(after)


def snfs(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Dettmers 2019: momentum of the steps since the last update; edges are shared out by its mean over the edges."""
    sgd(net, given["gradients"][step - 1])
    if step % EVERY:
        return
    momentum, means, gone, rooms = [], [], [], []
    for layer, edges in enumerate(net):
        newest, before = (at(given["gradients"][step - back], layer) for back in (1, 2))
        m = {pair: newest(pair) + 0.9 * before(pair) for pair in pairs_of(layer)}
        momentum.append(m)
        means.append(sum(abs(m[pair]) for pair in edges) / len(edges))
        gone.append(first(edges, int(cosine(step, 0.5) * len(edges)), lambda pair, edges=edges: abs(edges[pair])))
        rooms.append(len(pairs_of(layer)) - len(edges) + len(gone[-1]))
    for layer, count in enumerate(shares(sum(map(len, gone)), means, rooms)):
        edges, m = net[layer], momentum[layer]
        grown = first(free_of(edges, layer, gone[layer]), count, lambda pair, m=m: -abs(m[pair]))
        lost = [pair for pair in gone[layer] if pair not in grown]
        replace(edges, lost, [pair for pair in grown if pair not in gone[layer]])


def shares(total: int, means: list[float], rooms: list[int]) -> list[int]:
    """Return whole numbers in proportion to the means, the largest fractions up; what is too much goes on."""
    counts = [0] * len(means)
    while sum(counts) < total:
        open_ = [i for i in range(len(means)) if counts[i] < rooms[i]]
        rest, sum_ = total - sum(counts), sum(means[i] for i in open_)
        wanted = {i: rest * means[i] / sum_ for i in open_}
        parts = {i: math.floor(wanted[i]) for i in open_}
        for i in sorted(open_, key=lambda i: (parts[i] - wanted[i], i))[: rest - sum(parts.values())]:
            parts[i] += 1
        for i in open_:
            counts[i] = min(rooms[i], counts[i] + parts[i])
    return counts


def deepr(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Bellec 2018, algorithm 1: theta of the edges walks; those not above 0 are replaced by random ones."""
    l1, heat = 0.5, 0.02
    for layer, edges in enumerate(net):
        gradient, noise = at(given["gradients"][step - 1], layer), at(given["noise"][step - 1], layer)
        known = memory.setdefault(layer, {pair: math.copysign(1, edges[pair]) for pair in edges})
        sign = lambda pair, layer=layer, known=known: known.get(pair, at(given["signs"], layer)(pair))  # noqa: E731
        gone = []
        for pair, weight in edges.items():
            theta = abs(weight) - LR * gradient(pair) * sign(pair) - LR * l1
            theta += math.sqrt(2 * LR * heat) * noise(pair)
            edges[pair] = sign(pair) * max(theta, 0.0)
            if theta <= 0:
                gone.append(pair)
        draw = at(given["grow_draws"][step - 1], layer)
        grown = first(free_of(edges, layer, gone), len(gone), lambda pair, draw=draw: -draw(pair))
        replace(edges, gone, grown)
        for pair in grown:
            edges[pair] = sign(pair) * 1e-12


def softdeepr(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Bellec 2018, algorithm 2: dormant pairs walk by noise alone, above theta_min; no number of edges is kept."""
    l1, heat, low = 0.5, 0.02, -0.3
    for layer, edges in enumerate(net):
        gradient, noise = at(given["gradients"][step - 1], layer), at(given["noise"][step - 1], layer)
        dormant = memory.setdefault(
            ("dormant", layer), {pair: low * at(given["start"], layer)(pair) for pair in pairs_of(layer)}
        )
        known = memory.setdefault(layer, {pair: math.copysign(1, edges[pair]) for pair in edges})
        before = set(edges)
        for pair in pairs_of(layer):
            sign = known.get(pair, at(given["signs"], layer)(pair))
            if pair in before:
                theta = abs(edges[pair]) - LR * gradient(pair) * sign - LR * l1 + math.sqrt(2 * LR * heat) * noise(pair)
                edges[pair] = sign * max(theta, 0.0)
                if theta <= 0:
                    del edges[pair]
                    dormant[pair] = max(theta, low)
            else:
                dormant[pair] = max(dormant[pair] + math.sqrt(2 * LR * heat) * noise(pair), low)
                if dormant[pair] > 0:
                    edges[pair] = sign * dormant[pair]


def gmp(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Zhu and Gupta 2017: the smallest weights go, so that density falls with the third power."""
    sgd(net, given["gradients"][step - 1])
    for layer, edges in enumerate(net):
        start = memory.setdefault(layer, len(edges))
        end = max(1, round(0.1 * len(pairs_of(layer))))
        left = min(start, end + round((start - end) * (1 - step / UNTIL) ** 3))
        if step % EVERY == 0:
            replace(edges, first(edges, len(edges) - left, lambda pair, edges=edges: abs(edges[pair])), [])


def cht(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Zhang 2024: the smallest weights go, the best CH3-L3p links of what is left come, equal ones by draw."""
    sgd(net, given["gradients"][step - 1])
    for layer, edges in enumerate(net if step % EVERY == 0 else ()):
        gone = first(edges, int(0.3 * len(edges)), lambda pair, edges=edges: abs(edges[pair]))
        left = set(edges) - set(gone)
        score, draw = ch3_l3p(left, SHAPES[layer]), at(given["grow_draws"][step - 1], layer)
        grown = sorted(
            free_of(edges, layer, gone), key=lambda p, score=score, draw=draw: (-round(score[p], 9), draw(p))
        )
        replace(edges, gone, grown[: len(gone)])


def chts(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Zhang 2025: links to drop and to grow are drawn without replacement, by 1 / |w| and by CH2-L3n."""
    sgd(net, given["gradients"][step - 1])
    for layer, edges in enumerate(net if step % EVERY == 0 else ()):
        # Drawing one after the other in proportion to p is sorting by exponential times over p.
        chance = at(given["drop_draws"][step - 1], layer)
        size = lambda pair, edges=edges, chance=chance: -math.log(1 - chance(pair)) * abs(edges[pair])  # noqa: E731
        gone = first(edges, int(0.3 * len(edges)), size)
        score, draw = ch2_l3n(set(edges) - set(gone), SHAPES[layer]), at(given["grow_draws"][step - 1], layer)
        time = lambda pair, score=score, draw=draw: -math.log(draw(pair)) / max(score[pair], 1e-30)  # noqa: E731
        grown = first(free_of(edges, layer, gone), len(gone), time)
        replace(edges, gone, grown)


def mest(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Yuan 2021: the smallest |w| + 0.01 |gradient| go, as many random places come."""
    sgd(net, given["gradients"][step - 1])
    for layer, edges in enumerate(net if step % EVERY == 0 else ()):
        gradient, draw = at(given["gradients"][step - 1], layer), at(given["grow_draws"][step - 1], layer)
        size = lambda pair, edges=edges, g=gradient: abs(edges[pair]) + 0.01 * abs(g(pair))  # noqa: E731
        gone = first(edges, int(0.3 * len(edges)), size)
        replace(edges, gone, first(free_of(edges, layer, gone), len(gone), lambda pair, draw=draw: -draw(pair)))


def granet(net: Net, given: dict[str, Any], step: int, memory: dict[str, Any]) -> None:
    """Liu 2021: pruned as by gmp; a falling share of the smallest that are left is replaced by gradient, from 0."""
    gmp(net, given, step, memory)
    for layer, edges in enumerate(net if step % EVERY == 0 else ()):
        k, gradient = int(cosine(step, 0.5) * len(edges)), at(given["gradients"][step - 1], layer)
        gone = first(edges, k, lambda pair, edges=edges: abs(edges[pair]))
        replace(edges, gone, first(free_of(edges, layer, gone), k, lambda pair, g=gradient: -abs(g(pair))))


# -- link prediction, from its definition ------------------------------------------------------------------------------


def ch3_l3p(links: set[Pair], shape: tuple[int, int]) -> dict[Pair, float]:
    """Return for each pair the sum over paths u - t - j - v of 1 / sqrt((1 + de_t) (1 + de_j))."""
    rows = [{v for v in range(shape[1]) if (u, v) in links} for u in range(shape[0])]
    columns = [{u for u in range(shape[0]) if (u, v) in links} for v in range(shape[1])]
    scores = {}
    for u in range(shape[0]):
        for v in range(shape[1]):
            total = 0.0
            for t in rows[u]:
                for j in columns[v]:
                    if (j, t) in links:
                        # Links of t that go neither to u nor to a neighbour of v, and those of j likewise.
                        outside_t = len(columns[t] - columns[v] - {u})
                        outside_j = len(rows[j] - rows[u] - {v})
                        total += 1 / math.sqrt((1 + outside_t) * (1 + outside_j))
            scores[u, v] = total
    return scores


def node_based(links: set[Pair], shape: tuple[int, int], shared: bool) -> dict[Pair, float]:
    """Return CH2-L3n, where numbers of shared neighbours count, or CH3-L3n: similarities of u and of v with others."""
    rows = [{v for v in range(shape[1]) if (u, v) in links} for u in range(shape[0])]
    columns = [{u for u in range(shape[0]) if (u, v) in links} for v in range(shape[1])]

    def likeness(sides: list[set[int]], one: int, other: int) -> float:
        common = len(sides[one] & sides[other])
        outside = max(len(sides[other]) - common - 1, 0)
        return (common + 1 if shared else 1) / (1 + outside) if common else 0.0

    return {
        (u, v): sum(likeness(rows, u, j) for j in columns[v]) + sum(likeness(columns, v, t) for t in rows[u])
        for u in range(shape[0])
        for v in range(shape[1])
    }


def ch2_l3n(links: set[Pair], shape: tuple[int, int]) -> dict[Pair, float]:
    return node_based(links, shape, shared=True)


def ch3_l3n(links: set[Pair], shape: tuple[int, int]) -> dict[Pair, float]:
    return node_based(links, shape, shared=False)


def ra_l3(links: set[Pair], shape: tuple[int, int]) -> dict[Pair, float]:
    """Return for each pair the sum over paths u - t - j - v of 1 / sqrt(d_t d_j)."""
    row = [sum((u, v) in links for v in range(shape[1])) for u in range(shape[0])]
    column = [sum((u, v) in links for u in range(shape[0])) for v in range(shape[1])]
    return {
        (u, v): sum(
            1 / math.sqrt(column[t] * row[j])
            for t in range(shape[1])
            for j in range(shape[0])
            if (u, t) in links and (j, t) in links and (j, v) in links
        )
        for u in range(shape[0])
        for v in range(shape[1])
    }


ALGORITHMS: dict[str, Callable[[Net, dict[str, Any], int, dict[str, Any]], None]] = {
    "static": static, "set": set_, "snfs": snfs, "rigl": rigl, "deepr": deepr, "softdeepr": softdeepr, "gmp": gmp,
    "cht": cht, "chts": chts, "mest": mest, "granet": granet, "srigl": srigl,
}  # fmt: skip


def trace(name: str, given: dict[str, Any]) -> list[list[list[Pair]]]:
    """Return the sorted edges of each layer after each of five updates."""
    net, memory, found = net_of(given), dict[str, Any](), []
    for step in range(1, STEPS + 1):
        ALGORITHMS[name](net, given, step, memory)
        if step % EVERY == 0:
            found.append([sorted(edges) for edges in net])
    return found


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    given = state()
    for name in ALGORITHMS:
        content = {"algorithm": name, **given, "edges": trace(name, given)}
        lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in content.items()]
        (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
