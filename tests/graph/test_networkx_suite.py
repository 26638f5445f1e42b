"""networkx's own tests of its graph classes, run on ours in three states: as built, with an overlay, consolidated."""

from __future__ import annotations

import pytest
from networkx.classes.tests import test_digraph, test_digraph_historical

from deepgraph.graph import CachedLayeredGraph

# networkx's leak test asks every object of the process for its class, and some of torch's warn about that.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class Overlay(CachedLayeredGraph):
    """Arrays are merged at the start of each bulk addition, so that tests see arrays and an overlay mixed."""

    def add_edges_from(self, ebunch_to_add, **attr):
        super().add_edges_from(ebunch_to_add, **attr)
        if self._owns():
            self._arrays()
            self.csc()


class Consolidated(CachedLayeredGraph):
    """Arrays are merged after every mutation."""

    def _merge(self):
        if self._owns():
            self._arrays()
            self.csc()

    def add_edge(self, *args, **attr):
        super().add_edge(*args, **attr)
        self._merge()

    def add_edges_from(self, ebunch_to_add, **attr):
        super().add_edges_from(ebunch_to_add, **attr)
        self._merge()

    def remove_edge(self, *args):
        super().remove_edge(*args)
        self._merge()

    def remove_node(self, *args):
        super().remove_node(*args)
        self._merge()


STATES = {"Raw": CachedLayeredGraph, "Overlay": Overlay, "Consolidated": Consolidated}


def _digraph_tests(cls):
    class OnArrays(test_digraph.TestDiGraph):
        def setup_method(self):
            super().setup_method()
            self.Graph = cls
            self.K3 = cls(self.K3)
            self.P3 = cls(self.P3)

    return OnArrays


def _edge_subgraph_tests(cls):
    class OnArrays(test_digraph.TestEdgeSubgraph):
        def setup_method(self):
            super().setup_method()
            self.G = cls(self.G)
            self.H = self.G.edge_subgraph([(0, 1), (3, 4)])

    return OnArrays


def _historical_tests(graph_class):
    class OnArrays(test_digraph_historical.TestDiGraphHistorical):
        @classmethod
        def setup_class(cls):
            test_digraph_historical.TestDiGraphHistorical.setup_class()
            cls.G = graph_class

    return OnArrays


for _state, _cls in STATES.items():
    for _make in (_digraph_tests, _edge_subgraph_tests, _historical_tests):
        _name = f"Test{_state}{_make.__name__.title().replace('_', '')}"
        globals()[_name] = type(_name, (_make(_cls),), {})
