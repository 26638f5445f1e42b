"""`prune`: drops the edges of a model or of a graph that matter least."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.priors.densities import edge_budget
from deepgraph.pruning.adaptive import LAMP, Wanda
from deepgraph.pruning.brain_damage import OBD
from deepgraph.pruning.criterion import Criterion, Sample, Scores
from deepgraph.pruning.magnitude import Magnitude
from deepgraph.pruning.randomly import Randomly
from deepgraph.pruning.sensitivity import SNIP, Taylor
from deepgraph.pruning.signal import GraSP
from deepgraph.pruning.strategy import PruningStrategy
from deepgraph.pruning.surgeon import OBS
from deepgraph.pruning.synflow import SynFlow
from deepgraph.pruning.target import Pool, target_of
from deepgraph.pruning.walks import PHEW
from deepgraph.sparse.build import check_density
from deepgraph.sparse.randomness import Seed, numpy_stream, root_seed

__all__ = ["prune"]

Pruned = TypeVar("Pruned", nn.Module, CachedLayeredGraph)
Scope = Literal["global", "layer"]
Index = npt.NDArray[np.int64]

CRITERIA: dict[str, Callable[[], Criterion]] = {
    "magnitude": Magnitude,
    "grasp": GraSP,
    "lamp": LAMP,
    "obd": OBD,
    "obs": OBS,
    "distributed": lambda: Magnitude(distributed=True),
    "phew": PHEW,
    "random": Randomly,
    "snip": SNIP,
    "synflow": SynFlow,
    "taylor": Taylor,
    "wanda": Wanda,
}


def prune(
    model_or_graph: Pruned,
    amount: float | None = None,
    density: float | None = None,
    criterion: str | Criterion | Callable[[Any], Any] = "magnitude",
    scope: Scope = "global",
    *,
    strategy: PruningStrategy | None = None,
    data: Any = None,
    loss: Callable[[Any, Any], Tensor] = torch.nn.functional.cross_entropy,
    rounds: int | None = None,
    retrain: Callable[[Any], Any] | None = None,
    seed: Seed = None,
) -> Pruned:
    """Return the model or graph, whose least salient edges are dropped; it is changed in place.

    Parameters
    ----------
    model_or_graph : nn.Module or CachedLayeredGraph
        A model without edge sets gets them first, dense ones, by `sparsify`. In a graph whose edges say which parameter
        entry they belong to (`extract`), the edges of one entry count as one and go together.
    amount : float or int
        How much goes: a share of the edges in [0, 1], or a number of edges; or what `strategy` says.
    density : float
        Instead: kept edges over admissible pairs in the end, in (0, 1]. What is sparser already is left alone.
    criterion : str, Criterion or callable
        "magnitude", "distributed" (|w| over the layer's standard deviation), "random", "snip", "taylor", "synflow",
        "grasp", "phew", "lamp", "wanda", "obd", "obs" (which moves the weights that stay); or a function from
        EdgeValues, or from the graph, to scores (E,), of which the lowest go.
    scope : {"global", "layer"}
        Rank all edges together, or those of each edge set by itself; in a graph those into the neurons of each stage.
    strategy : PruningStrategy, optional
        What `amount` means. None: PERCENTAGE for a float, ABSOLUTE for an int.
    data : (x, y), or iterable of (x, y)
        For "snip", "grasp", "taylor", "synflow", "wanda", "obd" and "obs".
    loss : callable
        (outputs, y) -> scalar, for "snip", "grasp", "taylor" and "obd".
    rounds : int, optional
        Prune in this many rounds, >= 1, with numbers of edges that fall by one factor; scores are computed anew in
        each. None: 1, but 100 for "synflow".
    retrain : callable, optional
        Called with the model or graph after every round but the last.
    seed : int, Generator or None
        For "random" and "phew" and for models that draw while they run. None draws from torch's global generator.

    Raises
    ------
    ArgumentError
        If not exactly one of `amount` and `density` is given, one is out of range, `criterion`, `scope` or `rounds` is
        not valid, or data is missing.
    DtypeError
        If `model_or_graph` is neither, or `strategy`, `loss` or `retrain` is of another kind.
    ShapeError
        If a callable does not give one score for each edge, or data are no pairs.
    UnsupportedOperationError
        If the model is on the device meta, or the criterion knows no such model.
    MissingColumnError
        If a graph has no weights and the criterion needs them.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = prune(dg.MaskedDeepFFN(6, 3, [8], seed=0), density=0.25)
    >>> model.num_edges, model.graph.history[-1].reason
    (18, 'prune')
    >>> prune(model.graph.copy(), 0.5).number_of_edges()
    9
    """
    _check(amount, density, scope, retrain)
    chosen = _criterion(criterion)
    count = _rounds(rounds, chosen, strategy)
    how = _strategy(strategy, amount)
    # What can be read only once is kept for the other rounds.
    sample = Sample(numpy_stream(root_seed(seed)), list(data) if isinstance(data, Iterator) else data, loss)
    target = target_of(model_or_graph, scope)
    budgets: list[tuple[int, int]] = []
    for number in range(1, count + 1):
        pools = target.pools(chosen, sample)
        costs = [np.ones(len(pool.scores), np.int64) if density is None else pool.edges for pool in pools]
        if not budgets:
            ends = [_left(pool, amount, density, how) for pool in pools]
            budgets = [(int(cost.sum()), end) for cost, end in zip(costs, ends, strict=True)]
        left = [_between(start, end, number / count) for start, end in budgets]
        units = [cheapest(*each) for each in zip([pool.scores for pool in pools], costs, left, strict=True)]
        target.drop(units, chosen)
        if retrain is not None and number < count:
            retrain(model_or_graph)
    return model_or_graph


def _check(amount: object, density: object, scope: object, retrain: object) -> None:
    """Refuse what `prune` cannot take."""
    if (amount is None) == (density is None):
        raise ArgumentError(f"expected either amount or density, got amount={amount!r} and density={density!r}")
    if scope not in get_args(Scope):
        raise ArgumentError(f"scope: expected one of {get_args(Scope)}, got {scope!r}")
    if retrain is not None and not callable(retrain):
        raise DtypeError(f"retrain: expected a function of the model, got {retrain!r}")


def _strategy(given: object, amount: object) -> PruningStrategy:
    """Return what an amount means; DtypeError if that is no strategy."""
    how = given or (PruningStrategy.PERCENTAGE if isinstance(amount, float) else PruningStrategy.ABSOLUTE)
    if not isinstance(how, PruningStrategy):
        raise DtypeError(f"strategy: expected a PruningStrategy or None, got {how!r}")
    return how


def _rounds(given: int | None, criterion: Any, strategy: PruningStrategy | None) -> int:
    """Return in how many rounds to prune; ArgumentError if that cannot be."""
    count = (criterion.rounds if isinstance(criterion, Criterion) else 1) if given is None else given
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ArgumentError(f"rounds: expected an integer >= 1, got {given!r}")
    if strategy is PruningStrategy.BUCKET and count > 1:
        raise ArgumentError(f"rounds: expected 1 with PruningStrategy.BUCKET, got {count}")
    return int(count)


def _criterion(given: Any) -> Any:
    if isinstance(given, str) and given in CRITERIA:
        return CRITERIA[given]()
    if isinstance(given, Criterion) or (callable(given) and not isinstance(given, type)):
        return given
    raise ArgumentError(f"criterion: expected one of {list(CRITERIA)}, a Criterion or a function, got {given!r}")


def _left(pool: Pool, amount: float | None, density: float | None, strategy: PruningStrategy) -> int:
    """Return how much of a pool is left in the end: edges with a density, units with an amount."""
    if density is not None:
        return min(int(pool.edges.sum()), edge_budget(pool.admissible, check_density(density)))
    return len(pool.scores) - strategy.count(amount if amount is not None else 0, pool.scores)


def _between(start: int, end: int, done: float) -> int:
    """Return the number left after a share `done` of the rounds, each of which keeps the same share."""
    return end if done == 1 or start == 0 else max(end, round(start * (end / start) ** done))


def cheapest(scores: Scores, cost: Index, left: int) -> Index:
    """Return the fewest units of the lowest scores (U,) whose loss leaves units that cost (U,) at most `left` in sum.

    Examples
    --------
    >>> cheapest(np.array([3.0, 1.0, 2.0]), np.array([1, 4, 1]), 3).tolist()
    [1]
    """
    over = int(cost.sum()) - left
    if over <= 0:
        return np.empty(0, np.int64)
    order = np.argsort(scores, kind="stable")
    return order[: int(np.searchsorted(np.cumsum(cost[order]), over)) + 1]
