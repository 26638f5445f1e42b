"""A pytest plugin that runs networkx's own tests with `networkx.DiGraph` replaced by `CachedLayeredGraph`."""

from __future__ import annotations

import networkx as nx
import pytest

from deepgraph.graph import CachedLayeredGraph


class CountedGraph:
    """How many graphs of ours the tests made."""

    ours = 0


def pytest_configure(config: pytest.Config) -> None:
    """Replace the class before any test module is imported."""

    def counting_attach(self: CachedLayeredGraph, store: object) -> None:
        CountedGraph.ours += 1
        attach(self, store)

    attach = CachedLayeredGraph._attach
    CachedLayeredGraph._attach = counting_attach
    nx.DiGraph = CachedLayeredGraph


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many graphs of ours there were, so that a run that replaced nothing is seen."""
    terminalreporter.write_line(f"graphs on arrays: {CountedGraph.ours}")
