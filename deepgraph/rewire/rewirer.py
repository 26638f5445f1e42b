"""`Rewirer`: an optimizer that wraps one and edits edges; the base of every algorithm that drops and grows."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, Literal
from weakref import ref

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import DeepGraphError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import History
from deepgraph.rewire import arguments
from deepgraph.rewire.candidates import lowest, split_rows
from deepgraph.rewire.capture import Capture
from deepgraph.rewire.edit_log import EditLog
from deepgraph.rewire.editing import Pairs, changes_of, commit
from deepgraph.rewire.groups import Group, Grouping, groups_of
from deepgraph.rewire.growth import Growth, ScoredGrowth, checked_scores
from deepgraph.rewire.options import Drop, GroupBy, Grown
from deepgraph.rewire.pair_gradients import PairGradients, gradients_of
from deepgraph.rewire.ranks import Ranks
from deepgraph.rewire.reduced import keep_whole
from deepgraph.rewire.saved_state import checked_state, structure_of
from deepgraph.rewire.schedule import Decay, drop_share
from deepgraph.rewire.wrapper import Wrapper
from deepgraph.sparse.randomness import Seed, root_seed, torch_stream
from deepgraph.sparse.values import EdgeValues, follow

__all__ = ["Pairs", "Rewirer"]

Index = npt.NDArray[np.int64]


class Rewirer(Wrapper):
    """A torch optimizer that wraps one, and drops and grows edges every few steps; the base of SET, RigL and others.

    `param_groups` and `state` are those of the wrapped optimizer, so learning rate schedulers, GradScaler, closures and
    training loops work unchanged. Surviving edges keep weight and optimizer state; grown edges start with zero state.

    Parameters
    ----------
    model : nn.Module
        A model with edge sets: one of ours, or any that `sparsify` was applied to. Sets that are dense, or frozen, are
        never rewired. Wrapped in DistributedDataParallel, all its processes make the same edits, by gradients summed
        over them.
    optimizer : torch.optim.Optimizer
        Holds the model's parameters; follows the edits from now on.
    every : int
        Optimizer steps between edits, >= 1. The steps `every, 2 every, ...` edit.
    until : int or None
        Steps from this one on edit nothing; None goes on for ever.
    drop_fraction : float in (0, 1], or callable from step to [0, 1], optional
        Share of the edges that an edit drops; None: 0.3, or what the algorithm says.
    decay : {"cosine", "linear", "constant"}, optional
        How the share falls to 0 at `until`; constant where `until` is None. None: "constant", or what the algorithm
        says.
    group : {"auto", "set", "target", "graph"} or callable, optional
        Which edges share a budget. "set": those of each edge set, as in the papers. "target": the same, and every
        target neuron keeps its number of incoming edges. "graph": all of them, gradients divided by the RMS of
        dZ_v. "auto": "graph" for the edges of a DAG, which may grow new skip edges, and "set" otherwise. Or a function
        from (edge sets, which are dense) to a list of `Group`. None: "auto", or what the algorithm says.
    average : int
        Gradients of absent edges are summed over the batches of this many steps, >= 1.
    drop : callable, optional
        From edge values to a score (E,) for each edge, of which the lowest go, in place of the algorithm's.
    growth : Growth, optional
        Where new edges come, in place of the algorithm's: `RandomGrowth()`, `GradientGrowth()` or one of your own.
    grown : callable, optional
        From (edge values, u, v) to the weights (K,) that new edges start with, in place of the algorithm's.
    seed : int, Generator or None
        None draws from torch's global generator, once, here.

    Attributes
    ----------
    model : nn.Module
        As given; a copy or a pickle of the rewirer alone has a copy of it.
    optimizer : torch.optim.Optimizer
        The wrapped one.
    steps : int
        Calls of `step` so far.
    edited : bool
        Whether the last step was one that edits.
    log : EditLog
        A row per edit: step, edges dropped, grown, present, and present by skip length, of all sets that are not dense.

    Raises
    ------
    ArgumentError
        If the model has no edge sets, the optimizer does not hold their parameters, or an argument is out of range.
    DtypeError
        If `optimizer` is no torch optimizer, or `drop`, `growth` or `grown` is no such thing.
    StructureError
        From `step`, if processes of a distributed training hold different edges.

    Notes
    -----
    A new algorithm says which edges to drop and which pairs to grow. The edges with the *lowest* `drop_scores` go,
    the pairs with the *highest* `grow_scores` come; number, edit, optimizer state and resuming are the base's part.
    Besides these two, a subclass may set `default_fraction`, `default_decay`, `default_group`, `growth` (where pairs
    are looked for), `captures` (whether `gradients` of absent pairs are needed), `gradient_decay` (how much gradients
    of earlier steps count at each further one), `replaces_step` (whether an edit takes the place of the optimizer's
    step) and `keeps_regrown` (whether an edge dropped and grown by one edit keeps weight and state), or override
    `grown_weights`, `choose_drop`, `drops`, `drop_share`, `leaves_alone` and `grouped`.

    Examples
    --------
    MEST (Yuan et al. 2021), in its gradient-aware form: drop by |w| + c |g|, grow at random.

    >>> import deepgraph as dg
    >>> class MEST(Rewirer):
    ...     def drop_scores(self, values):
    ...         return values.values().abs() + 0.01 * values.gradient().abs()
    ...
    ...     def grow_scores(self, values, u, v):
    ...         return torch.rand(len(u), generator=self.generator)
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = MEST(model, torch.optim.SGD(model.parameters(), lr=0.1), every=2, seed=0)
    >>> x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     model(x).square().sum().backward()
    ...     _ = optimizer.step()
    >>> optimizer.edited, optimizer.log
    (True, EditLog(2 edits, 8 edges dropped, 8 grown))
    """

    growth: Growth = ScoredGrowth()
    captures = False
    default_fraction: float = 0.3
    default_decay: Decay = "constant"
    default_group: Grouping = "auto"
    replaces_step = False
    keeps_regrown = False
    gradient_decay = 1.0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "grow_scores" in cls.__dict__ and "growth" not in cls.__dict__:
            cls.growth = ScoredGrowth()

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        every: int = 100,
        until: int | None = None,
        drop_fraction: float | Callable[[int], float] | None = None,
        decay: Decay | None = None,
        group: Grouping | GroupBy | None = None,
        average: int = 1,
        drop: Drop | None = None,
        growth: Growth | None = None,
        grown: Grown | None = None,
        seed: Seed = None,
    ) -> None:
        super().__init__(optimizer)
        self.model, self.values = model, arguments.held_values(model, optimizer)
        self._drop, self._grown = arguments.function_or_none("drop", drop), arguments.function_or_none("grown", grown)
        if growth is not None:
            self.growth, self.captures = arguments.growth_object(growth), growth.captures
        self.every = arguments.at_least_one("every", every)
        self.until = until if until is None else arguments.at_least_one("until", until)
        self.average = arguments.at_least_one("average", average)
        share = self.default_fraction if drop_fraction is None else drop_fraction
        self.drop_fraction = arguments.share_or_function("drop_fraction", share)
        self.decay: Decay = self.default_decay if decay is None else decay
        drop_share(0, 0.5, None, self.decay)
        self._dense = [arguments.rests(one) or self.leaves_alone(one.edge_set) for one in self.values]
        self.group: Grouping | GroupBy = self.default_group if group is None else group
        self._groups = self.grouped()
        if self.captures:
            arguments.check_scales(self.values, self._groups)
        self.ranks = Ranks(model)
        if self.ranks.size > 1:
            arguments.check_room(self.values, self._groups)
        self.seed = self.ranks.shared(root_seed(seed))
        self.generator = torch_stream(self.seed)
        self.steps, self.edited, self.log = 0, False, EditLog()
        self._capture = self._new_capture()
        follow(model, optimizer)
        self.ranks.check_options(type(self).__name__, self._dense, *(getattr(self, n) for n in Rewirer._schedule(self)))
        self.ranks.check(self.edge_sets)
        self._listen_ahead()

    def __getstate__(self) -> dict[str, Any]:
        # Whoever copies a rewirer alone copies its model with it, and the model has to come first.
        return {"model": self.model, **super().__getstate__()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for one in self.values:
            one.optimizers.append(ref(self.optimizer))

    # -- what an algorithm says ---------------------------------------------------------------------------------

    def drop_scores(self, values: EdgeValues) -> Tensor | Array:
        """Return a score (E,) for each edge, of which the lowest are dropped; here |w|."""
        return values.values().abs_()

    def grow_scores(self, values: EdgeValues, u: Index, v: Index) -> Tensor | Array:
        """Return a score (C,) for each of the absent pairs (u, v), of which the highest are grown; here |gradient|."""
        return self.gradients(values, u, v).abs()

    def grown_weights(self, values: EdgeValues, u: Index, v: Index) -> Tensor | Array:
        """Return the weights (K,) that grown edges start with; here 0."""
        return np.zeros(len(u))

    def drop_share(self, step: int) -> float:
        """Return the share of edges, in [0, 1], that an edit at `step` drops."""
        return drop_share(step, self.drop_fraction, self.until, self.decay)

    def choose_drop(self, values: Sequence[EdgeValues], share: float) -> list[Index]:
        """Return the rows to drop of each edge set of a group: its int(share * E) edges of the lowest `drop_scores`."""
        scores = [self._drop_scores(one) for one in values]
        joined = scores[0] if len(scores) == 1 else np.concatenate(scores)
        rows = lowest(joined, int(share * len(joined)))
        return split_rows(rows, [len(score) for score in scores])

    def drops(self, rows: dict[int, Index]) -> dict[int, Index]:
        """Return the rows to drop, ascending, by the index of their edge set, given those that were chosen; here these.

        What an algorithm drops besides, for the sake of what the whole network looks like then, it adds here.
        """
        return rows

    def random_numbers(self, values: EdgeValues, u: Index, v: Index) -> npt.NDArray[np.float64]:
        """Return a uniform random number in [0, 1) for each of the pairs (u, v) of an edge set, (K,)."""
        found: npt.NDArray[np.float64] = torch.rand(len(u), generator=self.generator, dtype=torch.float64).numpy()
        return found

    def leaves_alone(self, edges: EdgeSet) -> bool:
        """Return whether an edge set is never edited; here one that is dense when the optimizer is made."""
        return edges.num_edges >= edges.num_admissible

    def grouped(self) -> list[Group]:
        """Return the edge sets that share a budget, as `group` says."""
        if callable(self.group):
            return list(self.group(self.edge_sets, self._dense))
        return groups_of(self.edge_sets, self.group, self._dense)

    def budget(self, step: int) -> int:
        """Return the number of edges of the model at `step`; an edit grows as many as it drops."""
        return sum(edges.num_edges for edges in self.edge_sets)

    def factors(self, values: EdgeValues) -> list[tuple[Tensor, Tensor]]:
        """Return captured `(A (R, B), dZ (C, B))`: the gradient of a pair (u, v) is the sum of `(A[u] * dZ[v]).sum()`.

        Raises
        ------
        EditRefusedError
            If no backward was captured: the class has to set `captures = True`.
        UnsupportedOperationError
            If the edge set is that of a PyTorch module, which has dense gradients.
        """
        return [(step[0], step[1]) if len(step) == 2 else values.factors() for step in self._capture.captured(values)]

    def pair_gradients(self, values: EdgeValues) -> PairGradients:
        """Return the captured gradients of all pairs, summed over processes, scaled as `scale` says; raises as above.

        They are computed where they are asked for: of some pairs, into some targets, or the best of the free pairs.
        """
        return gradients_of(self._capture.captured(values), self.scale(values), self.ranks.sum)

    def scale(self, values: EdgeValues) -> Literal["none", "rms"]:
        """Return "rms" where gradients of a pair (u, v) are to be divided by the RMS of dZ_v, else "none".

        Where dZ is not known, in PyTorch's modules, it is the RMS over the sources of the gradients into v.
        """
        at = self._position(values)
        return "rms" if any(group.scaled and at in group.members for group in self._groups) else "none"

    def gradients(self, values: EdgeValues, u: Index, v: Index) -> Tensor:
        """Return the captured gradient (C,) of the pairs (u, v), edges or not, scaled as `scale` says."""
        return self.pair_gradients(values).at(u, v)

    # -- what one can ask ---------------------------------------------------------------------------------------

    @property
    def edge_sets(self) -> list[EdgeSet]:
        """The edge sets of the model."""
        return [one.edge_set for one in self.values]

    @property
    def history(self) -> History:
        """The edits made here, oldest first, each with its step; undone ones are gone."""
        name = type(self).__name__
        mine = [(edit for edit in edges.history if edit.reason == name) for edges in self.edge_sets]
        return History(heapq.merge(*mine, key=lambda edit: edit.transaction))

    def edits_at(self, step: int) -> bool:
        """Return whether `step`, counted from 1, edits edges."""
        return bool(self._groups) and step % self.every == 0 and (self.until is None or step < self.until)

    # -- the optimizer ------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the wrapped optimizer, edit edges, or both, and return the closure's loss where one is given.

        Raises
        ------
        EditRefusedError
            If this step edits and a forward waits for its backward, or gradients are needed and none came.
        """
        edits = self.edits_at(self.steps + 1)
        if closure is None:
            self._refuse(edits)
        loss = None
        if not (edits and self.replaces_step):
            loss = self.optimizer.step() if closure is None else self.optimizer.step(closure)
        elif closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.steps += 1
        if edits:
            try:
                self.edited = self._edit()
            except DeepGraphError:
                self.steps -= 1
                raise
        else:
            self.edited = False
            self._capture.keep()
        self._listen_ahead()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set gradients to zero, those of absent edges too."""
        self._capture.forget()
        super().zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the wrapped optimizer's state with one key more, "rewire": steps, schedule, random state, log."""
        state = self.optimizer.state_dict()
        state["rewire"] = {
            "algorithm": type(self).__name__,
            "optimizer": type(self.optimizer).__name__,
            "structures": [structure_of(edges) for edges in self.edge_sets],
            "steps": self.steps,
            "edited": self.edited,
            "seed": self.seed,
            "generator": self.generator.get_state(),
            "schedule": {name: getattr(self, name) for name in self._schedule()},
            "dense": list(self._dense),
            "capacities": [one.capacity for one in self.values],
            "captured": self._capture.state(),
            "log": list(self.log),
        }
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, so that training goes on bit for bit; load the model first.

        Raises
        ------
        ArgumentError
            If the state is that of a plain optimizer, of another algorithm or model, or of other edges than there are.
        """
        rewire = checked_state(state_dict, self)
        for one, capacity in zip(self.values, rewire["capacities"], strict=True):
            # The wrapped optimizer's state is as long as the parameter was, room for edges included.
            one.resize(capacity)
        self.optimizer.load_state_dict({key: entry for key, entry in state_dict.items() if key != "rewire"})
        self.steps, self.edited, self.seed = rewire["steps"], rewire["edited"], rewire["seed"]
        self.generator.set_state(rewire["generator"].cpu())
        for name, entry in rewire["schedule"].items():
            setattr(self, name, entry)
        self._dense = list(rewire["dense"])
        self._groups = self.grouped()
        self._capture.stop()
        self._capture = self._new_capture()
        self._capture.load(rewire["captured"])
        self.log = EditLog(rewire["log"])
        self._listen_ahead()

    # -- the edit -----------------------------------------------------------------------------------------------

    def _edit(self) -> bool:
        """Drop and grow in all edge sets, or in none where one refuses; return whether the step counts as an edit."""
        self.ranks.meet()
        share = self.drop_share(self.steps)
        rows: dict[int, Index] = {}
        for group in self._groups:
            members = [self.values[index] for index in group.members]
            rows.update(zip(group.members, self.choose_drop(members, share), strict=True))
        rows = self.drops(rows)
        changes: dict[int, tuple[Pairs, Pairs]] = {}
        for group in self._groups:
            found = self._changes(group, [rows[index] for index in group.members])
            changes.update(zip(group.members, found, strict=False))
        commit(self, changes)
        return True

    def _changes(self, group: Group, rows: Sequence[Index]) -> list[tuple[Pairs, Pairs]]:
        """Return the pairs to drop, of given rows, and to grow of each member of a group; nothing where none change."""
        return changes_of(self, group, rows)

    def _grow_count(self, group: Group, dropped: Sequence[Index]) -> int:
        """Return how many edges a group grows after it dropped some rows: as many."""
        return sum(len(rows) for rows in dropped)

    def _new_capture(self) -> Capture:
        return Capture([self.values[i] for one in self._groups for i in one.members], self.gradient_decay)

    def _position(self, values: EdgeValues) -> int:
        return next(index for index, one in enumerate(self.values) if one is values)

    def _drop_scores(self, values: EdgeValues) -> npt.NDArray[Any]:
        scores = self.drop_scores(values) if self._drop is None else self._drop(values)
        found = checked_scores(scores, values.edge_set.num_edges, f"{type(self).__name__}.drop_scores", True)
        return keep_whole(values, found)

    def _weights(self, values: EdgeValues, u: Index, v: Index) -> npt.NDArray[np.float64]:
        weights = self.grown_weights(values, u, v) if self._grown is None else self._grown(values, u, v)
        return checked_scores(weights, len(u), f"{type(self).__name__}.grown_weights")

    def _refuse(self, edits: bool) -> None:
        """Raise EditRefusedError, with nothing changed, where an edit or its preparation is not possible now."""
        if edits:
            arguments.check_ready(self.values, self._dense)
        if self._capture.armed:
            self._capture.check()

    def _listen_ahead(self) -> None:
        """Capture gradients of absent edges where an edit that needs them is at most `average` steps ahead."""
        if not self.captures:
            return
        if any(map(self.edits_at, range(self.steps + 1, self.steps + 1 + self.average))):
            self._capture.arm()
        elif self._capture.armed:
            self._capture.stop()

    def _schedule(self) -> list[str]:
        # A function cannot be saved: the one that the constructor was given stays.
        plain = [name for name in ("drop_fraction", "group") if not callable(getattr(self, name))]
        return ["every", "until", "decay", "average", *plain]

    def __repr__(self) -> str:
        until = "" if self.until is None else f", until={self.until}"
        share = self.drop_fraction if not callable(self.drop_fraction) else "function of the step"
        group = "function" if callable(self.group) else repr(self.group)
        schedule = f"every={self.every}{until}, drop_fraction={share}, group={group}"
        return f"{type(self).__name__}({schedule}, {self.optimizer!r})"
