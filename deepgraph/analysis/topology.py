"""Does the topology that was found matter? Its scores against those of its null models, retrained the same way."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tqdm import tqdm

from deepgraph.analysis.edges import graph_of
from deepgraph.analysis.paired import PairedDifference, paired_difference
from deepgraph.analysis.parallel import run_tasks, write_whole
from deepgraph.analysis.relabel import null_relabel
from deepgraph.analysis.smallworld import null_graph
from deepgraph.analysis.table import format_number, lay_out
from deepgraph.errors import ArgumentError, FileFormatError

if TYPE_CHECKING:
    from deepgraph.graph import CachedLayeredGraph

__all__ = ["TopologyTest", "does_topology_matter"]

FOUND = "found"
KEEPS = {
    "er": "edges per stage pair",
    "degree": "every fan-in and fan-out too",
    "relabel": "the whole pattern, elsewhere",
}


@dataclass(frozen=True)
class TopologyTest:
    """Scores of a graph and of its nulls over the same seeds; print it for a table.

    Attributes
    ----------
    seeds : tuple of int
        One training of every arm per seed.
    scores : mapping
        Scores (S,) of "found" and of each null, in the order of `seeds`; NaN where training gave none.
    differences : mapping
        Found - null over the pairs of each null, with its interval.
    higher_is_better : bool
        How to read a score.
    """

    seeds: tuple[int, ...]
    scores: Mapping[str, tuple[float, ...]]
    differences: Mapping[str, PairedDifference]
    higher_is_better: bool

    def winner(self, null: str) -> str:
        """Return "found", the name of the null, or "nobody" where the interval of the difference holds 0.

        Raises
        ------
        ArgumentError
            If the null was not tested.
        """
        if null not in self.differences:
            raise ArgumentError(f"null must be one of {', '.join(self.differences)}, got {null!r}")
        sign = self.differences[null].sign * (1 if self.higher_is_better else -1)
        return {1: FOUND, 0: "nobody", -1: null}[sign]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data; None for what is undefined."""

        def plain(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "seeds": list(self.seeds),
            "higher_is_better": self.higher_is_better,
            "scores": {name: [plain(score) for score in row] for name, row in self.scores.items()},
            "differences": {
                name: {
                    "n": one.n, "mean": plain(one.mean), "sd": plain(one.sd), "low": plain(one.low),
                    "high": plain(one.high), "level": one.level, "winner": self.winner(name),
                }
                for name, one in self.differences.items()
            },
        }  # fmt: skip

    def __str__(self) -> str:
        level = next(iter(self.differences.values())).level
        rows = [[FOUND, "", *_mean_sd(self.scores[FOUND]), "", "", ""]]
        for name, one in self.differences.items():
            bounds = f"[{format_number(one.low, 3)}, {format_number(one.high, 3)}]"
            difference = format_number(one.mean, 3)
            rows.append([name, KEEPS[name], *_mean_sd(self.scores[name]), difference, bounds, self.winner(name)])
        head = ["graph", "keeps", "mean", "sd", "found - null", f"{100 * level:.3g} % interval", "who wins"]
        better = "higher" if self.higher_is_better else "lower"
        lines = [f"Does topology matter? {len(self.seeds)} seeds, {better} scores are better", ""]
        lines += lay_out(head, rows, indent=0)
        lines += ["", f"Paired by seed; {len(self.differences)} comparisons, intervals not adjusted for their number."]
        lost = {name: sum(not math.isfinite(score) for score in row) for name, row in self.scores.items()}
        lines += [f"{name}: {count} without a finite score, left out." for name, count in lost.items() if count]
        return "\n".join(lines)


def does_topology_matter(
    graph: CachedLayeredGraph,
    train: Callable[[CachedLayeredGraph, int], float],
    nulls: Sequence[str] = ("er", "degree", "relabel"),
    seeds: int | Sequence[int] = 5,
    *,
    weights: Literal["draw", "keep"] = "draw",
    level: float = 0.95,
    higher_is_better: bool = True,
    workers: int | None = None,
    path: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> TopologyTest:
    """Return how a found graph does against its null models, all trained anew from the same initialisation.

    Parameters
    ----------
    graph : CachedLayeredGraph or model
        What was found, by rewiring, pruning or search.
    train : callable
        `train(graph, seed) -> score`: builds a model of `graph` with `seed`, trains it without changing edges, and
        returns its score on held-out data. With workers it must be defined at the top of a module.
    nulls : sequence of {"er", "degree", "relabel"}
        "er": random edges in each stage pair. "degree": swaps that keep every fan-in and fan-out there. "relabel": the
        same pattern, its nodes moved inside their stage. A null is drawn anew for each seed.
    seeds : int or sequence of int
        The number of seeds, which are 0, 1, ..., or the seeds themselves; at least 2 of them.
    weights : {"draw", "keep"}
        "draw": trained weights and biases are taken off, so that every graph draws its own with the seed. "keep":
        weights stay on their edges, shuffled inside each stage pair in "er" and "degree", for a graph that carries
        the initial weights.
    level : float
        Confidence of the intervals, in (0, 1).
    higher_is_better : bool
        Whether a higher score is better (accuracy) or a lower one (loss).
    workers : int or None
        Spawned processes of one thread each; None takes one per core, 0 trains in this process.
    path : path or None
        JSON file that takes every score as it comes in; a later call with the same graph and training goes on from it.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    DtypeError
        If there is no graph in `graph`.
    ArgumentError
        If an argument is out of range, `train` returns no number, or cannot be sent to another process.
    FileFormatError
        If `path` holds something else, or the scores of another graph or training.

    Notes
    -----
    Scores are paired by seed, and the interval is that of the mean difference. Inside the interval nobody wins.
    A script that uses workers must start with `if __name__ == "__main__":`, as every script that spawns processes.

    Examples
    --------
    >>> import deepgraph as dg
    >>> graph = dg.priors.watts_strogatz(30, 4, 0.1, seed=0)
    >>> def hubs(graph, seed):                            # stands for a training
    ...     return max(dict(graph.out_degree).values()) + 0.01 * seed
    >>> found = does_topology_matter(graph, hubs, seeds=3, workers=0, progress=False)
    >>> found.winner("degree"), found.winner("relabel"), found.differences["relabel"].mean
    ('nobody', 'nobody', 0.0)
    """
    graph = graph_of(graph)
    numbers = _seeds(seeds)
    arms = _arms(nulls)
    if weights not in ("draw", "keep"):
        raise ArgumentError(f'weights must be "draw" or "keep", got {weights!r}')
    paired_difference([], [], level)
    base = _bare(graph) if weights == "draw" else graph.copy()
    book = _Scores(path, {"graph": base.digest(), "train": _name(train)})
    left = [(arm, seed) for seed in numbers for arm in arms if (arm, seed) not in book.scores]
    done = len(arms) * len(numbers) - len(left)
    bar = tqdm(total=done + len(left), initial=done, desc="topology", unit="run", leave=False, disable=not progress)
    with bar:
        tasks = [(train, base, arm, seed) for arm, seed in left]
        for index, score in run_tasks(_train_one, tasks, workers):
            book.add(*left[index], score)
            bar.update()
    scores = {arm: tuple(book.scores[arm, seed] for seed in numbers) for arm in arms}
    differences = {arm: paired_difference(scores[FOUND], scores[arm], level) for arm in arms[1:]}
    return TopologyTest(numbers, scores, differences, higher_is_better)


def _train_one(train: Callable[..., Any], base: CachedLayeredGraph, arm: str, seed: int) -> float:
    """Return the score of one arm with one seed."""
    score = train(_arm_graph(base, arm, seed), seed)
    try:
        return float(score)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"train must return a number, got {type(score).__name__} for {arm!r} with seed {seed}; return the accuracy"
        ) from error


def _arm_graph(base: CachedLayeredGraph, arm: str, seed: int) -> CachedLayeredGraph:
    """Return a copy of the graph itself, or the null that belongs to this seed."""
    if arm == FOUND:
        return base.copy()
    rng = np.random.default_rng([zlib.crc32(arm.encode()), seed])
    return null_relabel(base, rng) if arm == "relabel" else null_graph(base, arm, rng)


def _bare(graph: CachedLayeredGraph) -> CachedLayeredGraph:
    """Return a free copy with stages and roles declared, without weights, biases and history."""
    copy = graph.copy()
    stage, role = graph.stage_array(), graph.role_array()
    copy.set_node_column("stage", stage)
    copy.set_node_column("role", role)
    copy.history.clear()
    store = copy._arrays()
    for table in (store.nodes.sync(), store.edges.edge_set().columns):
        table.gather()
        for name in ("weight", "bias"):
            table.arrays.pop(name, None)
            table.present.pop(name, None)
    return copy


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return the seeds, checked."""
    numbers = tuple(range(seeds)) if isinstance(seeds, (int, np.integer)) else tuple(int(seed) for seed in seeds)
    if len(numbers) < 2 or len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise ArgumentError(f"seeds must be at least 2 different numbers >= 0, for an interval; got {seeds!r}")
    return numbers


def _arms(nulls: Sequence[str]) -> list[str]:
    """Return what is trained: the graph, then its nulls."""
    if isinstance(nulls, str) or not nulls or not set(nulls) <= set(KEEPS):
        raise ArgumentError(f"nulls must be a list of some of {', '.join(KEEPS)}; got {nulls!r}")
    return [FOUND, *dict.fromkeys(nulls)]


def _name(train: Callable[..., Any]) -> str:
    """Return the name by which a file knows a training."""
    function = getattr(train, "func", train)  # of functools.partial
    return str(getattr(function, "__qualname__", type(function).__name__))


class _Scores:
    """Scores by arm and seed, kept in a file where there is a path."""

    def __init__(self, path: str | os.PathLike[str] | None, key: dict[str, str]) -> None:
        self.path, self.key = None if path is None else Path(path), key
        self.scores: dict[tuple[str, int], float] = {}
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = [(str(arm), int(seed), math.nan if s is None else float(s)) for arm, seed, s in content["scores"]]
            key = {name: str(content[name]) for name in self.key}
        except (ValueError, KeyError, TypeError) as error:
            raise FileFormatError(f"{path}: expected the scores of does_topology_matter, got {error!r}") from error
        for name, value in self.key.items():
            if key[name] != value:
                raise FileFormatError(
                    f"{path}: expected the scores of {name} {value:.40}, got those of {key[name]:.40}; "
                    "pass another path for another graph or training"
                )
        self.scores = {(arm, seed): score for arm, seed, score in rows}

    def add(self, arm: str, seed: int, score: float) -> None:
        """Keep one score, and write all of them."""
        self.scores[arm, seed] = score
        if self.path is not None:
            rows = [[a, s, score if math.isfinite(score) else None] for (a, s), score in self.scores.items()]
            write_whole(self.path, json.dumps(self.key | {"scores": rows}, indent=1) + "\n")


def _mean_sd(scores: Sequence[float]) -> list[str]:
    """Return mean and sd of the finite scores as text."""
    finite = [score for score in scores if math.isfinite(score)]
    mean = float(np.mean(finite)) if finite else math.nan
    sd = float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
    return [format_number(mean), format_number(sd, 2)]
