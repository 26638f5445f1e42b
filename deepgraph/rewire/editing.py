"""One edit of a rewirer: what is dropped and grown in a group of edge sets, and all of it made at once or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deepgraph.graph.history import EdgeEdit, next_transaction
from deepgraph.rewire.candidates import free_pairs, swap
from deepgraph.rewire.groups import Group
from deepgraph.rewire.growth import Pairs
from deepgraph.rewire.reduced import open_rows, reduced_targets

if TYPE_CHECKING:
    from deepgraph.rewire.rewirer import Rewirer

__all__ = ["Pairs", "changes_of", "commit"]

Index = npt.NDArray[np.int64]


def changes_of(rewirer: Rewirer, group: Group, rows: Sequence[Index]) -> list[tuple[Pairs, Pairs]]:
    """Return the pairs to drop, of given rows, and to grow of each member of a group; nothing where nothing changes."""
    values = [rewirer.values[index] for index in group.members]
    rows = [open_rows(*each) for each in zip(values, rows, strict=True)]
    count = rewirer._grow_count(group, rows)
    if count == 0 and not any(map(len, rows)):
        return []
    free = [free_pairs(one.edge_set, gone, reduced_targets(one)) for one, gone in zip(values, rows, strict=True)]
    if group.per_target:
        lost = [
            np.bincount(one.edge_set.dst[dropped], minlength=one.edge_set.num_targets)
            for one, dropped in zip(values, rows, strict=True)
        ]
        grown = [rewirer.growth.choose_per_target(rewirer, *each) for each in zip(values, free, lost, strict=True)]
    else:
        grown = rewirer.growth.choose(rewirer, values, free, count)
    sets = [one.edge_set for one in values]
    return [swap(*each, rewirer.keeps_regrown) for each in zip(sets, rows, grown, strict=True)]


def commit(rewirer: Rewirer, changes: Mapping[int, tuple[Pairs, Pairs]]) -> None:
    """Make the edits, by the index of their edge set, as one transaction; check the ranks, and write the log's row."""
    transaction, prepared = next_transaction(), {}
    for index, (drop, grow) in changes.items():
        if len(drop[0]) or len(grow[0]):
            one = rewirer.values[index]
            prepared[index] = one.edge_set.prepare(
                drop, grow, step=rewirer.steps, reason=type(rewirer).__name__, transaction=transaction,
                weight=rewirer._weights(one, *grow),
            )  # fmt: skip
    done: dict[int, EdgeEdit] = {index: edit.commit() for index, edit in prepared.items()}
    rewirer._capture.stop()
    rewirer.ranks.check(rewirer.edge_sets)
    if done:
        rewired = [index for group in rewirer._groups for index in group.members]
        edge_sets = [rewirer.values[index].edge_set for index in rewired]
        rewirer.log.add(rewirer.steps, edge_sets, [done.get(index) for index in rewired])
