"""Restoring objects in place, all of them or none."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from deepgraph.checkpoint.values import HOME, RngState, SavedObject, first_transaction, is_ours, rng_state, values_of
from deepgraph.errors import ArgumentError, FileFormatError

__all__ = ["Placement", "build", "restore_objects"]

# State tensors of torch's optimizers that have the shape of their parameter; others may not.
_LIKE_PARAMETER = (
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "momentum_buffer",
    "square_avg",
    "grad_avg",
    "sum",
    "prev",
)


@dataclass(frozen=True)
class Placement:
    """What a file holds under `name`, and the object that shall take it."""

    name: str
    saved: Any
    target: Any

    @property
    def rank(self) -> int:
        """Modules come first: their edges, once adopted, give optimizer state its shape. Random state comes last."""
        return 0 if isinstance(self.target, nn.Module) else (2 if isinstance(self.target, RngState) else 1)

    def check(self) -> None:
        """Raise where the target cannot take what was saved, before anything is changed.

        Raises
        ------
        ArgumentError
            If the target is an object of another kind or class.
        EditRefusedError
            If it is a module that waits for a backward.
        """
        if isinstance(self.saved, RngState) and isinstance(self.target, RngState):
            return
        if not isinstance(self.saved, SavedObject) or not callable(getattr(self.target, "load_state_dict", None)):
            kind = self.saved.name if isinstance(self.saved, SavedObject) else type(self.saved).__name__
            raise ArgumentError(
                f"into: {self.name!r}: expected an object to restore a {kind} into, got {type(self.target).__name__}; "
                "values without a state are returned by load and need no place"
            )
        mine = type(self.target).__name__
        if not isinstance(self.target, nn.Module) and mine != self.saved.name:
            raise ArgumentError(f"into: {self.name!r}: expected a {self.saved.name}, as was saved, got a {mine}")
        for values in values_of(self.target):
            values.check_idle("load weights")


def restore_objects(placements: Sequence[Placement], path: str) -> None:
    """Restore objects from what a file holds; if one of them fails, all are put back as they were.

    Raises
    ------
    FileFormatError
        If what the file holds does not fit an object.
    ArgumentError, EditRefusedError
        If an object cannot take it now, or not at all.
    """
    for placement in placements:
        placement.check()
    ordered = sorted(placements, key=lambda placement: placement.rank)
    back = _snapshots([placement.target for placement in ordered])
    for placement in ordered:
        try:
            _restore(placement)
        except Exception as error:
            for undo in back:
                undo()
            raise FileFormatError(
                f"{path}: {placement.name!r}: expected the state of this {type(placement.target).__name__}, got one "
                f"that does not fit; nothing was changed: {error}"
            ) from error


def build(saved: SavedObject, path: str) -> Any:
    """Return a module of ours built anew, or the state alone of what only the caller can build.

    Raises
    ------
    FileFormatError
        If the file names no module of ours, or its configuration or state is not valid.
    """
    if saved.config is None:
        return saved.state
    cls: Any = getattr(importlib.import_module(HOME), saved.name, None)
    if not is_ours(cls):
        raise FileFormatError(f"{path}: expected a module of {HOME}, got {saved.name!r:.60}")
    try:
        module = cls.from_config(saved.config)
    except Exception as error:
        raise FileFormatError(f"{path}: expected the configuration of a {saved.name}, got {error}") from error
    restore_objects([Placement(saved.name, saved, module)], path)
    return module


def _snapshots(targets: Sequence[Any]) -> list[Callable[[], None]]:
    """Return calls that put all targets back, and the optimizers that follow them: modules first."""
    followers: dict[int, Any] = {}
    for target in targets:
        for values in values_of(target):
            followers.update((id(found), found) for ref in values.optimizers if (found := ref()) is not None)
    given = {id(target) for target in targets}
    others = [found for key, found in followers.items() if key not in given]
    return [_snapshot(target) for target in sorted([*targets, *others], key=lambda t: not isinstance(t, nn.Module))]


def _snapshot(target: Any) -> Callable[[], None]:
    if isinstance(target, RngState):
        return rng_state().restore
    state = copy.deepcopy(target.state_dict())
    values = values_of(target)
    histories = [one.edge_set.history.copy() for one in values]
    capacities = [one.parameter.numel() if one.storage == "csr" else None for one in values]

    def undo() -> None:
        target.load_state_dict(state)
        for one, history, capacity in zip(values, histories, capacities, strict=True):
            _set_capacity(one, capacity)
            one.edge_set.history = history

    return undo


def _restore(placement: Placement) -> None:
    saved, target = placement.saved, placement.target
    if isinstance(saved, RngState):
        saved.restore()
        return
    # A state dict belongs to the object that takes it from here on: some keep its tensors.
    target.load_state_dict(saved.state)
    values = values_of(target)
    if len(values) != len(saved.histories):
        hint = "" if values else "; call sparsify(model, 1.0) first, as the saved one had been sparsified or pruned"
        raise FileFormatError(f"expected {len(values)} edge sets, got {len(saved.histories)}{hint}")
    first = first_transaction(saved)
    for index, one in enumerate(values):
        edges = one.edge_set
        _set_capacity(one, saved.capacities[index])
        edges.history = saved.history(index, edges.num_sources, edges.num_targets, edges.num_edges, first)
    if hasattr(target, "param_groups") and hasattr(target, "state"):
        _check_optimizer(target)


def _set_capacity(values: Any, capacity: int | None) -> None:
    """Give the parameter as much room as it had, so that optimizer state fits it."""
    if capacity is not None and values.storage == "csr" and values.parameter.numel() != capacity:
        values.compact()
        values.reserve(capacity)


def _check_optimizer(optimizer: Any) -> None:
    """Raise if state that goes with a parameter has another shape; torch takes any."""
    for parameter, state in optimizer.state.items():
        if not isinstance(parameter, Tensor):
            continue
        for key in _LIKE_PARAMETER:
            entry = state.get(key) if isinstance(state, dict) else None
            if isinstance(entry, Tensor) and entry.shape != parameter.shape:
                raise FileFormatError(
                    f"state {key!r}: expected shape {tuple(parameter.shape)}, got {tuple(entry.shape)}"
                )
