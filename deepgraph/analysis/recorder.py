"""`Recorder`: statistics of the edges during training, from the edits that training makes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.analysis.catalogue import MEASURES
from deepgraph.analysis.edge_tally import EdgeTally
from deepgraph.analysis.edges import EdgeArrays, FloatArray, graph_of
from deepgraph.analysis.measure import Measure, near_names, pick
from deepgraph.analysis.run import evaluate
from deepgraph.errors import ArgumentError, DtypeError, MissingColumnError, MissingDependencyError
from deepgraph.graph.sampling import as_generator

if TYPE_CHECKING:
    import pandas

    from deepgraph.graph.sampling import Seed

__all__ = ["Recorder"]

COUNTS = ("step", "edges", "dropped", "grown", "churn", "jaccard", "itop")
_DEFAULT = ("gini_fan_in", "live_share", "effective_density")


class Recorder:
    """Statistics of a model's edges over training steps; print it, index it by name, or take `to_frame()`.

    Every row has the counts, which cost next to nothing: `edges`; `dropped` and `grown` since the row before; `churn`,
    the dropped share of the edges of the row before; `jaccard`, the likeness in [0, 1] to the edges at the start;
    `itop`, the share of admissible pairs that were an edge at any time. A row is written at the start, after each step
    that edited edges, and every `every` steps; only the latter hold the measures.

    Parameters
    ----------
    model : nn.Module
        A model with edge sets. Sets that are dense are left out, unless all are.
    optimizer : torch.optim.Optimizer or None
        Its steps are counted: a rewirer, DEEPR, or a plain one (of a wrapped optimizer, pass what wraps it). Without
        one, call `step()` after each step.
    every : int
        Steps between rows with measures, >= 1.
    measures : iterable of str or Measure, or None
        Which; names as in `analyse`. None takes gini_fan_in, live_share and effective_density where the model has a
        graph.
    seed : int, Generator or None
        Of measures that draw random numbers.

    Raises
    ------
    ArgumentError
        If the model has no edge sets, `every` is below 1, or a measure is defined against nulls.
    DtypeError
        If measures are asked for and the model has no graph, or `optimizer` is no torch optimizer.
    UnknownMeasureError
        If a measure is not known.

    Notes
    -----
    Resuming: load the model and the optimizer first, then the recorder. Keep the recorder: model and optimizer refer
    to it weakly.

    References
    ----------
    .. [1] Liu, S. et al. "Do We Actually Need Dense Over-Parameterization? In-Time Over-Parameterization in Sparse
       Training", ICML 2021: `itop` is their R_s.

    Examples
    --------
    >>> import deepgraph as dg, torch
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = dg.SET(model, torch.optim.SGD(model.parameters(), lr=0.1), every=2, seed=0)
    >>> recorder = Recorder(model, optimizer, every=4, seed=0)
    >>> for _ in range(4):
    ...     model(torch.ones(5, 6)).square().sum().backward()
    ...     _ = optimizer.step()
    >>> recorder["step"].tolist(), recorder["edges"].tolist()
    ([0.0, 2.0, 4.0], [18.0, 18.0, 18.0])
    >>> bool(recorder["jaccard"][-1] < 1), recorder.curve("gini_fan_in")["step"].tolist()
    (True, [0.0, 4.0])
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any = None,
        *,
        every: int = 100,
        measures: Iterable[str | Measure] | None = None,
        seed: Seed = None,
    ) -> None:
        from deepgraph.sparse import edge_values

        if every < 1:
            raise ArgumentError(f"every must be a number of steps >= 1, got {every}")
        held = [values.edge_set for values in edge_values(model)]
        if not held:
            raise ArgumentError(
                f"expected a model with edge sets, got a {type(model).__name__} without; make it sparse with "
                "deepgraph.sparsify(model, density) or build a model of deepgraph"
            )
        loose = [edges for edges in held if edges.num_edges < edges.num_admissible]
        self.model, self.every, self.steps = model, every, 0
        self.measures = _chosen(model, measures)
        self.seed = int(as_generator(seed).integers(2**62))
        self.rows: list[dict[str, float]] = []
        self._tallies = [EdgeTally(edges) for edges in loose or held]
        if optimizer is not None:
            if not hasattr(optimizer, "register_step_post_hook"):
                raise DtypeError(
                    f"optimizer: expected a torch.optim.Optimizer or a rewirer, got {type(optimizer).__name__}"
                )
            this = weakref.ref(self)
            optimizer.register_step_pre_hook(_calling(this, Recorder._before_step))
            optimizer.register_step_post_hook(_calling(this, Recorder.step))
        self._write()

    # -- recording ------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Count one training step, and write its row where one is due; a given optimizer calls this by itself."""
        self.steps += 1
        edited = any(tally.dropped or tally.grown for tally in self._tallies)
        if edited or self.steps % self.every == 0:
            self._write()

    def note(self, **values: float) -> None:
        """Put values of one's own, such as loss and accuracy, into the row of this step; a row is made where none is.

        Raises
        ------
        ArgumentError
            If a name is that of a count or of a measure.

        Examples
        --------
        >>> import deepgraph as dg
        >>> recorder = Recorder(dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0))
        >>> recorder.note(accuracy=0.1)
        >>> recorder["accuracy"].tolist()
        [0.1]
        """
        taken = sorted(values.keys() & {*COUNTS, *(measure.name for measure in self.measures)})
        if taken:
            raise ArgumentError(f"note: expected names of one's own, got {', '.join(taken)}, which the recorder writes")
        if self.rows[-1]["step"] != self.steps:
            self._write(measured=False)
        self.rows[-1].update({name: float(value) for name, value in values.items()})

    def _before_step(self) -> None:
        """Write the first row anew where the edges were changed, or loaded, after it and before training."""
        if self.steps or all(tally.version == tally.edge_set.version for tally in self._tallies):
            return
        written = {*COUNTS, *(measure.name for measure in self.measures)}
        noted = {name: value for name, value in self.rows[0].items() if name not in written}
        self.rows.clear()
        for tally in self._tallies:
            tally.begin()
        self._write()
        self.rows[0].update(noted)

    def _edges(self) -> int:
        return sum(tally.edge_set.num_edges for tally in self._tallies)

    def _write(self, measured: bool = True) -> None:
        """Append the row of this step."""
        edges, tallies = self._edges(), self._tallies
        dropped = sum(tally.dropped for tally in tallies)
        before = self.rows[-1]["edges"] if self.rows else edges
        common, start = sum(tally.common for tally in tallies), sum(len(tally.start) for tally in tallies)
        admissible = sum(tally.edge_set.num_admissible for tally in tallies)
        row: dict[str, float] = {
            "step": self.steps,
            "edges": edges,
            "dropped": dropped,
            "grown": sum(tally.grown for tally in tallies),
            "churn": dropped / before if before else 0.0,
            "jaccard": common / (start + edges - common) if start + edges > common else 1.0,
            "itop": sum(len(tally.ever) for tally in tallies) / max(admissible, 1),
        }
        if measured and self.measures and self.steps % self.every == 0:
            view = EdgeArrays.from_graph(graph_of(self.model))
            found, _ = evaluate(view, self.measures, self.seed, at=self.steps)
            row |= {m.name: found[m.name].value if m.name in found else math.nan for m in self.measures}
        self.rows.append(row)
        for tally in tallies:
            tally.reset_counts()

    # -- reading --------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The columns: counts, measures, and what was noted."""
        noted = (name for row in self.rows for name in row)
        return list(dict.fromkeys([*COUNTS, *(measure.name for measure in self.measures), *noted]))

    def __getitem__(self, name: str) -> FloatArray:
        """Return a column (T,); NaN in rows that do not hold it.

        Raises
        ------
        MissingColumnError
            If nothing of this name was recorded.
        """
        if name not in self.names:
            raise MissingColumnError(f"expected a recorded column, got {name!r}: {near_names(name, self.names)}")
        return np.array([row.get(name, math.nan) for row in self.rows], dtype=np.float64)

    def curve(self, name: str) -> dict[str, FloatArray]:
        """Return `{"step": (K,), name: (K,)}` of the rows that hold a value, as the functions of `plotting` take it.

        Raises
        ------
        MissingColumnError
            If nothing of this name was recorded.
        """
        column = self[name]
        kept = ~np.isnan(column)
        return {"step": self["step"][kept], name: column[kept]}

    def to_frame(self) -> pandas.DataFrame:
        """Return the rows as a pandas.DataFrame, one column per name.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependencyError(
                "to_frame: expected pandas, which is not installed; run pip install pandas, or read recorder[name]"
            ) from error
        whole = dict.fromkeys(("step", "edges", "dropped", "grown"), "int64")
        return pd.DataFrame(self.rows, columns=self.names).astype(whole)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        last = self.rows[-1]
        return (
            f"Recorder({len(self.rows)} rows to step {self.steps}: {last['edges']:,} edges, "
            f"Jaccard to the start {last['jaccard']:.3f}, ITOP rate {last['itop']:.3f})"
        )

    # -- resuming -------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return rows, steps and counts as plain numbers and tensors."""
        return {
            "steps": self.steps,
            "seed": self.seed,
            "rows": [dict(row) for row in self.rows],
            "edge_sets": [tally.state() for tally in self._tallies],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, so that the record goes on as if never interrupted.

        Raises
        ------
        ArgumentError
            If the state belongs to a model with other edge sets; nothing is changed.
        """
        saved = state_dict["edge_sets"]
        if len(saved) != len(self._tallies):
            raise ArgumentError(
                f"state_dict: expected the record of {len(self._tallies)} edge sets, got that of {len(saved)}; "
                "build the same model as when it was saved"
            )
        for tally, state in zip(self._tallies, saved, strict=True):
            tally.check(state)
        for tally, state in zip(self._tallies, saved, strict=True):
            tally.load(state)
        self.steps, self.seed = state_dict["steps"], state_dict["seed"]
        self.rows = [dict(row) for row in state_dict["rows"]]


def _chosen(model: Any, measures: Iterable[str | Measure] | None) -> list[Measure]:
    """Return the measures to be taken, each once."""
    if measures is None:
        wanted: list[str | Measure] = list(_DEFAULT) if hasattr(model, "graph") else []
    elif isinstance(measures, str):
        raise ArgumentError(f"measures must be a list of names, got the text {measures!r}; write [{measures!r}]")
    else:
        wanted = list(measures)
    found = [entry if isinstance(entry, Measure) else pick(MEASURES, entry) for entry in wanted]
    against = [measure.name for measure in found if measure.versus]
    if against:
        raise ArgumentError(
            f"measures: expected ones of the graph alone, got {', '.join(against)}, defined against nulls; "
            "compute them at the end with deepgraph.analyse(model, nulls=20)"
        )
    if found:
        graph_of(model)
    return list({measure.name: measure for measure in found}.values())


def _calling(recorder: weakref.ref[Recorder], method: Callable[[Recorder], None]) -> Callable[..., None]:
    """Return a step hook that does not keep the recorder alive."""

    def call(*_: Any) -> None:
        alive = recorder()
        if alive is not None:
            method(alive)

    return call
