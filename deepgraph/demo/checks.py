"""Checks of an extracted graph: it must be the one that the module says it is, and compute what the module computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepgraph.graph import CachedLayeredGraph
from deepgraph.sparse import GraphModule, MaskedDeepDAN
from deepgraph.transform import extract

__all__ = ["Extraction", "differences", "extract_and_check"]


@dataclass(frozen=True)
class Extraction:
    """A graph read out of a model by a forward pass, and what comparing it gave.

    Parameters
    ----------
    graph : CachedLayeredGraph
    source : str
        What it was compared with.
    equal : mapping from str to bool
        Whether nodes, edges, weights, biases, roles and activations are those of the source, to the bit.
    error : float
        Largest difference between the outputs of the model and of the graph compiled again, over the largest output.
    """

    graph: CachedLayeredGraph
    source: str
    equal: Mapping[str, bool]
    error: float

    @property
    def passed(self) -> bool:
        """Whether everything is equal and the outputs agree within the rounding of float32."""
        return all(self.equal.values()) and self.error < 1e-4

    def __str__(self) -> str:
        size = f"{len(self.graph):,} nodes and {self.graph.number_of_edges():,} edges"
        wrong = [name for name, same in self.equal.items() if not same]
        verdict = f"{', '.join(wrong)} DIFFER from {self.source}" if wrong else (
            f"{', '.join(list(self.equal)[:-1])} and {list(self.equal)[-1]} equal to {self.source}"
        )  # fmt: skip
        return f"{size}; {verdict}; compiled again, outputs differ by {self.error:.0e} of the largest"

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return {
            "nodes": len(self.graph),
            "edges": self.graph.number_of_edges(),
            "compared_with": self.source,
            "equal": dict(self.equal),
            "output_error": self.error,
            "passed": self.passed,
        }


def differences(found: CachedLayeredGraph, expected: CachedLayeredGraph) -> dict[str, bool]:
    """Return by name of a part whether two graphs are equal in it, to the bit.

    Examples
    --------
    >>> columns = {"weight": np.array([1.0, 2.0])}
    >>> one, other = (CachedLayeredGraph.from_arrays([0, 1], [1, end], 4, **columns) for end in (2, 3))
    >>> differences(one, one.copy())["edges"], differences(one, other)["edges"]
    (True, False)
    """
    same = {
        "nodes": list(found) == list(expected),
        "edges": all(map(np.array_equal, found.edge_arrays(), expected.edge_arrays())),
        "weights": _equal_columns(found.has_column, found.column, expected.has_column, expected.column, "weight"),
    }
    for part, name in {"biases": "bias", "roles": "role", "activations": "activation"}.items():
        same[part] = _equal_columns(
            found.has_node_column, found.node_column, expected.has_node_column, expected.node_column, name
        )
    return same


def _equal_columns(has: Any, read: Any, has_expected: Any, read_expected: Any, name: str) -> bool:
    if not has(name) or not has_expected(name):
        return bool(has(name) == has_expected(name))
    return bool(np.array_equal(read(name), read_expected(name)))


def extract_and_check(model: GraphModule, x: Tensor) -> Extraction:
    """Return the graph of a trained FFN or DAN, traced with the first row of x (B, I), and compared.

    An FFN is compared with `model.graph`, a DAN with `generate_structure(include_input=True, include_output=True)`.

    Examples
    --------
    >>> from deepgraph.sparse import MaskedDeepFFN
    >>> extract_and_check(MaskedDeepFFN(4, 2, [3], density=0.5, seed=0), torch.ones(2, 4)).passed
    True
    """
    graph = extract(model, x[:1])
    if isinstance(model, MaskedDeepDAN):
        source, expected = "generate_structure(True, True)", model.generate_structure(True, True)
    else:
        source, expected = "model.graph", model.graph
    with torch.no_grad():
        y, again = model(x), MaskedDeepDAN.from_graph(graph, seed=0)(x)
    error = float((y - again).abs().max() / y.abs().max().clamp_min(torch.finfo(y.dtype).tiny))
    return Extraction(graph, source, differences(graph, expected), error)
