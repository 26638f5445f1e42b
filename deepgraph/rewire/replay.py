"""`Replay`: the edits of one run in another; and `exploration`, the share of pairs that a run has ever used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array
from deepgraph.graph.history import EdgeEdit, History
from deepgraph.rewire.arguments import values_of
from deepgraph.rewire.editing import Pairs, commit
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.sparse.randomness import Seed
from deepgraph.sparse.values import EdgeValues

__all__ = ["Replay", "exploration"]

Index = npt.NDArray[np.int64]


class Replay(Rewirer):
    """Makes the edits of another run at the same steps: the same sequence of structures with other weights.

    Parameters
    ----------
    model, optimizer
        As for `Rewirer`. The model has the edges that the other run began with.
    history : Rewirer, nn.Module, History or sequence of History
        The other run, its model, or the histories of its edge sets, in their order. Edits without a step are left out.
    replaces_step : bool, optional
        Whether an edit takes the place of the optimizer's step. None: as in the Rewirer given, else False.

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`; if there is not one history for each edge set, or one has two edits at a step.
    EdgeError
        From `step`, if the edges are not those that the other run had.

    Notes
    -----
    Whether it is the structure found or the way to it that helps is what Evci et al. 2020, section 4.3, and Liu et al.
    2021 ask; a replayed run with other initial weights separates the two.

    Examples
    --------
    >>> import deepgraph as dg
    >>> def run(seed, rewirer):
    ...     model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    ...     optimizer = rewirer(model, torch.optim.SGD(model.parameters(), lr=0.1 * seed))
    ...     for _ in range(4):
    ...         model(torch.ones(5, 6)).square().sum().backward()
    ...         optimizer.step()
    ...     return model, optimizer
    >>> model, first = run(1, lambda *pair: dg.SET(*pair, every=2, seed=0))
    >>> other, _ = run(2, lambda *pair: Replay(*pair, first))
    >>> model.graph.edge_arrays()[1].tolist() == other.graph.edge_arrays()[1].tolist()
    True
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, history: Any, *, replaces_step: bool | None = None,
        seed: Seed = 0,
    ) -> None:  # fmt: skip
        histories = histories_of(history)
        super().__init__(model, optimizer, every=1, seed=seed)
        self.replaces_step = bool(getattr(history, "replaces_step", False) if replaces_step is None else replaces_step)
        if len(histories) != len(self.values):
            raise ArgumentError(
                f"history: expected one for each of {len(self.values)} edge sets of the model, got {len(histories)}; "
                "pass the rewirer of the other run, or its model"
            )
        self.plan: dict[int, dict[int, EdgeEdit]] = {}
        for index, edits in enumerate(histories):
            for edit in (edit for edit in edits if edit.step is not None):
                at_step = self.plan.setdefault(int(edit.step or 0), {})
                if index in at_step:
                    raise ArgumentError(
                        f"history: expected one edit a step of each edge set, got two of {self.edge_sets[index].name} "
                        f"at step {edit.step}"
                    )
                at_step[index] = edit

    def edits_at(self, step: int) -> bool:
        """Return whether the other run made an edit at `step`."""
        return step in self.plan

    def budget(self, step: int) -> int:
        """Return the number of edges of the model after `step`, as in the other run."""
        total = 0
        for index, edges in enumerate(self.edge_sets):
            made = [t for t in self.plan if index in self.plan[t]]
            past = [t for t in made if t <= step]
            if past:
                total += self.plan[max(past)][index].num_after
            else:
                total += self.plan[min(made)][index].num_before if made else edges.num_edges
        return total

    def grown_weights(self, values: EdgeValues, u: Index, v: Index) -> Tensor | Array:
        """Return the weights (K,) that the edges had in the other run when they were grown."""
        edit = self.plan[self.steps][self._position(values)]
        return np.asarray(edit.grown_columns.get("weight", np.zeros(edit.num_grown)))

    def _edit(self) -> bool:
        edits = self.plan[self.steps]
        changes: dict[int, tuple[Pairs, Pairs]] = {index: (edit.dropped, edit.grown) for index, edit in edits.items()}
        commit(self, changes)
        return True


def histories_of(run: Any) -> list[History]:
    """Return the histories of the edge sets of a rewirer or a model, or those given."""
    if isinstance(run, Rewirer):
        name = type(run).__name__
        return [History([e for e in edges.history if e.reason == name]) for edges in run.edge_sets]
    if isinstance(run, nn.Module):
        return [values.edge_set.history for values in values_of(run)]
    given = [run] if isinstance(run, History) else run
    if not isinstance(given, Sequence) or not all(isinstance(one, History) for one in given):
        raise ArgumentError(f"history: expected a Rewirer, a model or histories, got {type(run).__name__}")
    return list(given)


def exploration(model: nn.Module) -> float:
    """Return the share of admissible pairs, in [0, 1], that are edges now or were at any time of the history.

    Parameters
    ----------
    model : nn.Module
        With edge sets; dense ones do not count.

    Raises
    ------
    ArgumentError
        If the model has no edge sets.

    Notes
    -----
    The in-time over-parameterization rate R of Liu et al. 2021 [1]_, equation 4: the union of all masks so far over
    the number of parameters. They let it rise by long intervals between edits: on CIFAR 1,500 steps for SET and 4,000
    for RigL.

    Differs from the paper: edits that were undone do not count, and edge sets that are dense and never edited neither.

    References
    ----------
    .. [1] Liu, Yin, Mocanu, Pechenizkiy: Do we actually need dense over-parameterization? In-time
       over-parameterization in sparse training, ICML 2021, arXiv 2102.02887.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(4, 2, [], density=0.25, seed=0)
    >>> src, dst = model.graph.edge_arrays()
    >>> _ = model.graph.edit(drop=(src[:1], dst[:1]))
    >>> exploration(model)
    0.25
    """
    used = pairs = 0
    for values in values_of(model):
        edges = values.edge_set
        if edges.num_edges == edges.num_admissible and not len(edges.history):
            continue
        sides = [edges.pairs(), *(edit.dropped for edit in edges.history)]
        keys = np.concatenate([u.astype(np.int64) * edges.num_targets + v for u, v in sides])
        used += len(np.unique(keys))
        pairs += edges.num_admissible
    return used / max(pairs, 1)
