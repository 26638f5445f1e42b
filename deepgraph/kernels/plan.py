"""Plans: which storage and kernel compute a network, with what tiles, at what cost, and why. Printable and exact.

A plan follows from the facts of a graph by fixed thresholds, without measuring and without running a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from deepgraph.errors import ArgumentError, FileFormatError, TooLargeError, UnsupportedOperationError
from deepgraph.kernels.compiler import has_numba
from deepgraph.kernels.facts import Facts
from deepgraph.kernels.thresholds import thresholds
from deepgraph.kernels.tiling import tiling

__all__ = [
    "MASKED_LIMIT",
    "Plan",
    "PlanPart",
    "WeightSet",
    "check_batch",
    "choose_storage",
    "has_numba",
    "make_plan",
]

MASKED_LIMIT = 2**30
"""Largest size of masked weights, bytes."""

NOMINAL_BATCH = 128
"""Rows of a pass that storages are chosen and costs are estimated for where nothing else is said."""

# A graph with skip edges becomes one block per stage; beyond this many stages the blocks are too narrow to pay.
_SHALLOW = 16
# Up to this many pairs and rows edge values win at every density: what surrounds a dense product takes longer.
_SMALL, _FEW_ROWS = 2**16, 16
_NO_NUMBA = "numba is not installed: torch kernels, slower; pip install deepgraph-nn[fast]"


@dataclass(frozen=True)
class WeightSet:
    """One weight tensor of a plan: how many of its pairs are edges."""

    name: str
    edges: int
    pairs: int

    @property
    def density(self) -> float:
        """Return edges over admissible pairs, 0 without pairs."""
        return self.edges / max(1, self.pairs)


@dataclass(frozen=True)
class PlanPart:
    """How one operator call computes.

    Parameters
    ----------
    name : str
        Of the part of the model.
    storage, layout, kernel, dtype, device : str
        "csr", "masked" or "dense"; "flat" or "layers"; class name; "float32"; "cpu".
    weights : tuple of WeightSet
    tile, groups : int
        Columns per tile and groups of tiles at this batch; 0 where the kernel has none.
    multiply_adds : int
        Of one forward and backward pass at this batch.
    bytes : int
        Of values, gradients, indexes and saved outputs at this batch, without optimizer state.
    why : str
    notes : tuple of str
    batch : int
        Rows of a pass.
    """

    name: str
    storage: str
    layout: str
    kernel: str
    dtype: str
    device: str
    weights: tuple[WeightSet, ...]
    tile: int
    groups: int
    multiply_adds: int
    bytes: int
    why: str
    notes: tuple[str, ...] = ()
    batch: int = NOMINAL_BATCH


@dataclass(frozen=True)
class Plan:
    """How a model computes, part by part. `print(plan)` shows it as a table."""

    parts: tuple[PlanPart, ...]

    @staticmethod
    def join(plans: Mapping[str, Plan]) -> Plan:
        """Return one plan of several named ones.

        Examples
        --------
        >>> facts = Facts(3, (2, 1), (1,), (2,), 2, True)
        >>> plan = make_plan(facts, numba_available=True)
        >>> [part.name for part in Plan.join({"stem": plan, "head": plan}).parts]
        ['stem', 'head']
        """
        parts = [
            replace(part, name=name if len(plan.parts) == 1 else f"{name}.{part.name}")
            for name, plan in plans.items()
            for part in plan.parts
        ]
        return Plan(tuple(parts))

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values.

        Examples
        --------
        >>> Plan(()).to_dict()
        {'parts': []}
        """
        return {"parts": [_jsonable(asdict(part)) for part in self.parts]}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_dict` described.

        Raises
        ------
        FileFormatError
            If a field is missing or unknown.

        Examples
        --------
        >>> Plan.from_dict({"parts": []})
        Plan(parts=())
        """
        try:
            parts = [
                PlanPart(
                    **{
                        **part,
                        "weights": tuple(WeightSet(**entry) for entry in part["weights"]),
                        "notes": tuple(part["notes"]),
                    }
                )
                for part in values["parts"]
            ]
        except (KeyError, TypeError) as problem:
            raise FileFormatError(
                f"expected a plan as written by Plan.to_dict, got fields that do not fit: {problem}; "
                "make the plan again"
            ) from problem
        return Plan(tuple(parts))

    def __str__(self) -> str:
        rows = [("weights", "storage", "kernel", "edges", "density", "tile", "groups")]
        for part in self.parts:
            for entry in part.weights:
                # Weight sets that nobody named are numbered, and need the name of their part.
                own = f"{part.name}.{entry.name}" if entry.name.isdigit() else entry.name
                name = part.name if len(part.weights) == 1 else own
                cut = (str(part.tile), str(part.groups)) if part.tile else ("-", "-")
                rows.append((name, part.storage, part.kernel, f"{entry.edges:,}", f"{entry.density:.2%}", *cut))
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(w) if k < 3 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        for part in self.parts:
            lines.append(
                f"{part.name}: {part.why}; {part.dtype} on {part.device}, at batch {part.batch} about "
                f"{part.multiply_adds / 1e6:,.1f} million multiply-adds a step, {part.bytes / 2**20:,.1f} MB"
            )
            lines.extend(f"{part.name}: {note}" for note in part.notes)
        return "\n".join(line.rstrip() for line in lines)


def check_batch(batch: int) -> int:
    """Return a number of rows a pass; ArgumentError if it is no integer from 1.

    Examples
    --------
    >>> check_batch(4)
    4
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ArgumentError(f"batch: expected an integer from 1, the rows of a pass, got {batch!r}")
    return batch


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(entry) for key, entry in value.items()}
    return [_jsonable(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def choose_storage(
    density: float,
    *,
    stages: int = 2,
    elements: int = 0,
    device: str = "cpu",
    numba_available: bool | None = None,
    batch: int = NOMINAL_BATCH,
) -> str:
    """Return "csr" or "masked", whichever computes faster.

    Parameters
    ----------
    density : float
        Edges over admissible pairs, in [0, 1].
    stages : int
        Stages of a graph with skip edges; 2 for one layer.
    elements : int
        Elements that the masked storage would have, 0 for not known; beyond 1 GB in float32 csr is used, and for few
        of them at few rows.
    device : str
        "cpu" or "cuda".
    numba_available : bool, optional
        Default: whether numba can be imported.
    batch : int
        Rows of a pass: one of few rows is taken to be inference, one of more to be trained.

    Raises
    ------
    ArgumentError
        If density is outside [0, 1], or batch below 1.

    Examples
    --------
    >>> choose_storage(0.05, numba_available=True), choose_storage(0.9, numba_available=True)
    ('csr', 'masked')
    >>> choose_storage(0.9, numba_available=True, batch=4), choose_storage(0.4, numba_available=True, batch=1)
    ('csr', 'masked')
    """
    if not 0 <= density <= 1:
        raise ArgumentError(f"expected a density in [0, 1], got {density!r}")
    compiled = has_numba() if numba_available is None else numba_available
    limit = thresholds().linear(check_batch(batch), device, compiled)
    if compiled and device == "cpu" and 0 < elements <= _SMALL and batch <= _FEW_ROWS:
        return "csr"
    fits = stages <= _SHALLOW and elements * 4 <= MASKED_LIMIT
    return "masked" if density > limit and fits else "csr"


def make_plan(
    facts: Facts,
    storage: str = "auto",
    dtype: str = "float32",
    device: str = "cpu",
    numba_available: bool | None = None,
    name: str = "network",
    layout: str | None = None,
    batch: int = NOMINAL_BATCH,
) -> Plan:
    """Return the plan of one network.

    Parameters
    ----------
    facts : Facts
        See `describe`.
    storage : {"auto", "csr", "coo", "masked", "dense"}
        "coo" holds edge values like "csr" and joins them by torch's gather and add; "dense" only where every pair is
        an edge.
    dtype, device : str
        As torch names them, "float32" and "cpu".
    numba_available : bool, optional
        Default: whether numba can be imported.
    name : str
        Of the part in the table.
    layout : {"flat", "layers"}, optional
        Of masked storage; default by whether the network is layered.
    batch : int
        Rows of a pass.

    Raises
    ------
    ArgumentError
        If storage is unknown, batch below 1, or "dense" is asked for a graph in which pairs are missing.
    TooLargeError
        If "masked" or "dense" is asked for more than 1 GB.
    UnsupportedOperationError
        If "masked" or "dense" is asked for a graph with nodes that reduce by maximum or product.

    Examples
    --------
    >>> plan = make_plan(Facts(30, (10, 20), (10,), (200,), 200, True), numba_available=True)
    >>> plan.parts[0].storage, plan.parts[0].kernel, plan.parts[0].tile
    ('csr', 'NumbaWalk', 64)
    """
    if storage not in ("auto", "csr", "coo", "masked", "dense"):
        raise ArgumentError(f"expected storage 'auto', 'csr', 'coo', 'masked' or 'dense', got {storage!r}")
    compiled = has_numba() if numba_available is None else numba_available
    chosen, why = _storage(facts, storage, device, compiled, check_batch(batch))
    kernel, notes = _kernel(facts, chosen, dtype, device, compiled)
    itemsize = {"float64": 8, "bfloat16": 2, "float16": 2}.get(dtype, 4)
    edges = sum(facts.edges)
    weights = edges if chosen in ("csr", "coo") else facts.masked_elements
    tile = groups = 0
    if kernel == "NumbaWalk":
        cut = tiling(batch, max(itemsize, 4))
        tile, groups = cut.tile, len(cut.groups)
    # Values, gradients and one gathered copy, with two indexes of 2 bytes and one of 4 per edge; or values, gradients
    # and a mask.
    per_weight = 3 * itemsize + 8 if chosen in ("csr", "coo") else 2 * itemsize + 1
    part = PlanPart(
        name=name,
        storage=chosen,
        layout=layout or ("layers" if facts.layered else "flat"),
        kernel=kernel,
        dtype=dtype,
        device=device,
        weights=tuple(WeightSet(str(k), e, p) for k, (e, p) in enumerate(zip(facts.edges, facts.pairs, strict=True))),
        tile=tile,
        groups=groups,
        multiply_adds=3 * weights * batch,
        bytes=weights * per_weight + 2 * facts.num_nodes * batch * itemsize,
        why=why,
        notes=notes,
        batch=batch,
    )
    return Plan((part,))


def _storage(facts: Facts, storage: str, device: str, compiled: bool, batch: int) -> tuple[str, str]:
    size = facts.masked_elements * 4
    if storage == "dense" and sum(facts.edges) != sum(facts.pairs):
        raise ArgumentError(
            f"expected every pair to be an edge for storage 'dense', got {sum(facts.edges):,} of {sum(facts.pairs):,}; "
            "use 'masked', or to_dense() to add the missing edges"
        )
    if storage in ("masked", "dense") and size > MASKED_LIMIT:
        raise TooLargeError(
            f"storage {storage!r} of this graph takes {size / 2**30:.1f} GB in float32, more than the limit of "
            f"{MASKED_LIMIT / 2**30:.0f} GB; use storage='csr'"
        )
    if not facts.only_sums:
        if storage in ("masked", "dense"):
            raise UnsupportedOperationError(
                f"expected sums only for storage {storage!r}, got nodes that reduce by maximum or product; "
                "use storage='csr'"
            )
        kept = "coo" if storage == "coo" else "csr"
        return kept, "edge values because some nodes reduce by maximum or product"
    if storage != "auto":
        return storage, f"storage {storage} as asked"
    chosen = choose_storage(
        facts.density,
        stages=2 if facts.layered else len(facts.widths),
        elements=facts.masked_elements,
        device=device,
        numba_available=compiled,
        batch=batch,
    )
    if chosen == "masked":
        return chosen, f"masked matrices because {facts.density:.0%} of the pairs are edges"
    return chosen, f"edge values because {facts.density:.2%} of the pairs in {len(facts.widths):,} stages are edges"


def _kernel(facts: Facts, storage: str, dtype: str, device: str, compiled: bool) -> tuple[str, tuple[str, ...]]:
    if storage == "coo":
        return "TorchWalk", ("coo gathers and adds with torch, slower than csr",)
    if storage != "csr":
        return "MaskedStages", ()
    if device != "cpu":
        return "TorchWalk", (f"edge values on {device} run stage by stage through torch's sparse products",)
    if facts.custom:
        return "TorchWalk", (f"registered activations {', '.join(facts.custom)} need torch kernels, slower",)
    if dtype not in ("float32", "float64", "bfloat16"):
        return "TorchWalk", (f"edge values of {dtype} need torch kernels, slower",)
    if dtype == "bfloat16" and compiled:
        return "NumbaWalk", ("values of bfloat16 are added up in float32",)
    return ("NumbaWalk", ()) if compiled else ("TorchWalk", (_NO_NUMBA,))
