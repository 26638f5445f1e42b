"""Scalable structures: one theme, networks of any size. A theme is a list of proportions, or a graph of groups."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, overload

import networkx as nx
import numpy as np

from deepgraph.errors import ArgumentError, ShapeError, StructureError, UnknownNodeError
from deepgraph.graph import CachedLayeredGraph, uniform_proportions
from deepgraph.priors.theme import blow_up, shared_out
from deepgraph.sparse.directed_acyclic import MaskedDeepDAN
from deepgraph.sparse.feed_forward import MaskedDeepFFN
from deepgraph.sparse.module import Size
from deepgraph.sparse.randomness import Seed

__all__ = ["ScalableDAN", "ScalableDeepFFN"]


class ScalableDeepFFN:
    """A feed-forward network of any number of hidden neurons whose layers keep their proportions.

    Parameters
    ----------
    proportions : sequence of float
        One number > 0 a layer; only their ratios matter.

    Attributes
    ----------
    proportions : (L,) float
        Normalised to the sum 1.

    Raises
    ------
    ArgumentError
        If there is none, or one is not finite and > 0.

    Examples
    --------
    >>> theme = ScalableDeepFFN([0.5, 0.3, 0.2])
    >>> theme.draw(100), theme.draw(7)
    ([50, 30, 20], [4, 2, 1])
    >>> theme.build(784, 10, scale=100, seed=0).sizes
    [784, 50, 30, 20, 10]
    """

    def __init__(self, proportions: Sequence[float]) -> None:
        share = np.asarray(proportions, np.float64)
        if share.ndim != 1 or not share.size or not (np.isfinite(share) & (share > 0)).all():
            raise ArgumentError(f"proportions: expected finite numbers > 0, one a layer, got {proportions!r:.80}")
        self.proportions = share / share.sum()

    def draw(self, scale: int) -> list[int]:
        """Return the widths of the hidden layers; they sum to `scale` exactly and are at least 1.

        Raises
        ------
        ArgumentError
            If there are fewer neurons than layers.
        """
        sizes: list[int] = shared_out(_checked_scale(scale), self.proportions.tolist()).tolist()
        return sizes

    def build(self, input_shape: Size, output_shape: Size, scale: int, **options: Any) -> MaskedDeepFFN:
        """Return a network with `scale` hidden neurons; `options` are those of `MaskedDeepFFN`.

        Raises
        ------
        ArgumentError
            If a size or an option is not valid.
        """
        return MaskedDeepFFN(input_shape, output_shape, self.draw(scale), **options)

    def entropy_similarity(self, other: ScalableDeepFFN) -> float:
        """Return the Jensen-Shannon divergence of the proportions of two themes, in [0, log 2]; 0 for the same.

        The shorter one is taken as if it had layers of proportion 0 behind.

        Raises
        ------
        ArgumentError
            If `other` is no ScalableDeepFFN.

        Examples
        --------
        >>> ScalableDeepFFN([1, 2]).entropy_similarity(ScalableDeepFFN([2, 4]))
        0.0
        """
        if not isinstance(other, ScalableDeepFFN):
            raise ArgumentError(f"other: expected a ScalableDeepFFN, got {type(other).__name__}")
        pair = np.zeros((2, max(len(self.proportions), len(other.proportions))))
        pair[0, : len(self.proportions)], pair[1, : len(other.proportions)] = self.proportions, other.proportions
        ratio = np.where(pair > 0, pair, 1) / np.where(pair > 0, pair.mean(0), 1)
        return float((pair * np.log(ratio)).sum() / 2)

    def __repr__(self) -> str:
        return f"ScalableDeepFFN({self.proportions.round(4).tolist()})"


class ScalableDAN:
    """A network of any number of neurons on one theme: each of its nodes is a group, each edge joins two groups.

    Parameters
    ----------
    structure : CachedLayeredGraph or nx.DiGraph
        The theme.
    proportion_map : mapping of node to float, optional
        Numbers > 0, one for each node; only their ratios matter. Default `uniform_proportions(structure)`.
    density : float
        Kept edges over the pairs that the theme admits, in (0, 1].
    seed : int, Generator or None
        For densities below 1 and for weights.

    Raises
    ------
    StructureError
        If the theme has no nodes.
    ShapeError, UnknownNodeError, ArgumentError
        If the proportions do not fit its nodes.

    Examples
    --------
    >>> theme = nx.DiGraph([("in", "a"), ("in", "b"), ("a", "out"), ("b", "out"), ("in", "out")])
    >>> family = ScalableDAN(theme, {"in": 4, "a": 2, "b": 2, "out": 2})
    >>> family.grow(50).number_of_edges(), family.build(8, 3, 50, seed=0).graph.number_of_nodes()
    (800, 50)
    """

    def __init__(
        self,
        structure: nx.DiGraph[Any],
        proportion_map: Mapping[Hashable, float] | None = None,
        *,
        density: float = 1.0,
        seed: Seed = None,
    ) -> None:
        if len(structure) == 0:
            raise StructureError("structure: expected a graph with nodes, got an empty graph; add nodes first")
        self.structure = structure
        self.proportions = dict(uniform_proportions(structure) if proportion_map is None else proportion_map)
        self.density, self.seed = density, seed
        self._sizes: dict[Hashable, int] = {}
        unknown = [v for v in self.proportions if v not in structure]
        if unknown:
            raise UnknownNodeError(f"proportion_map: expected nodes of the structure, got {unknown[0]!r}")
        if len(self.proportions) != len(structure):
            raise ShapeError(
                f"proportion_map: expected a number for each of {len(structure)} nodes, got {len(self.proportions)}"
            )
        bad = [v for v, share in self.proportions.items() if not 0 < share < float("inf")]
        if bad:
            raise ArgumentError(
                f"proportion_map: expected finite numbers > 0, got {self.proportions[bad[0]]} for {bad[0]!r}"
            )

    def grow(self, scale: int) -> CachedLayeredGraph:
        """Return the structure with `scale` neurons exactly, shared out among the groups, at least one each.

        Raises
        ------
        ArgumentError
            If there are fewer neurons than groups.
        CycleError, StructureError
            If the theme has a cycle, or parallel edges.
        """
        shares = [self.proportions[v] for v in self.structure]
        sizes = shared_out(_checked_scale(scale), shares).tolist()
        self._sizes = dict(zip(self.structure, sizes, strict=True))
        return self._blown_up()

    def scale(self, vertex: Hashable, size: int) -> CachedLayeredGraph:
        """Add `size` neurons to the group of one node, and return the structure; groups start with one neuron each.

        Raises
        ------
        UnknownNodeError
            If the theme has no such node.
        ArgumentError
            If the size is no integer >= 1.
        """
        if vertex not in self.structure:
            raise UnknownNodeError(f"vertex: expected a node of the structure, got {vertex!r}")
        self._sizes[vertex] = self._sizes.get(vertex, 0) + _checked_scale(size, "size")
        return self._blown_up()

    def _blown_up(self) -> CachedLayeredGraph:
        sizes = {v: self._sizes.get(v, 1) for v in self.structure}
        seed = 0 if self.density == 1 else self.seed
        return blow_up(self.structure, sizes, self.density, seed=seed)

    @overload
    def build(
        self, input_shape: Size, output_shape: Size, scale: int, return_graph: Literal[False] = False, **options: Any
    ) -> MaskedDeepDAN: ...
    @overload
    def build(
        self, input_shape: Size, output_shape: Size, scale: int, return_graph: Literal[True], **options: Any
    ) -> tuple[MaskedDeepDAN, CachedLayeredGraph]: ...
    def build(
        self, input_shape: Size, output_shape: Size, scale: int, return_graph: bool = False, **options: Any
    ) -> MaskedDeepDAN | tuple[MaskedDeepDAN, CachedLayeredGraph]:
        """Return a network whose structure has `scale` neurons, on request with that structure.

        Parameters
        ----------
        input_shape, output_shape : int or shape
        scale : int
            Neurons in all groups together.
        return_graph : bool
        **options
            Of `MaskedDeepDAN`; `use_layer_norm` is True unless given.

        Raises
        ------
        ArgumentError, StructureError
            If a size, an option or the theme is not valid.
        """
        graph = self.grow(scale)
        self._sizes = {}
        model = self.model(input_shape, output_shape, graph, **{"seed": self.seed, **options})
        return (model, graph) if return_graph else model

    @staticmethod
    def model(
        input_shape: Size, output_shape: Size, structure: nx.DiGraph[Any], use_layer_norm: bool = True, **options: Any
    ) -> MaskedDeepDAN:
        """Return the network that `build` makes of a structure; `options` are those of `MaskedDeepDAN`.

        Raises
        ------
        ArgumentError, StructureError
            If a size, an option or the structure is not valid.
        """
        return MaskedDeepDAN(input_shape, output_shape, structure, use_layer_norm, **options)


def _checked_scale(scale: int, name: str = "scale") -> int:
    if isinstance(scale, bool) or not isinstance(scale, (int, np.integer)) or scale < 1:
        raise ArgumentError(f"{name}: expected an integer from 1, got {scale!r}")
    return int(scale)
