"""Edges into maxima and products: no rewirer drops one or grows one, and budgets hold all the same."""

import numpy as np
import pytest
import torch

import deepgraph as dg
from deepgraph.errors import UnsupportedOperationError
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.rewire.candidates import absent_into, free_pairs


def model(normed=False, share=0.5):
    g = dg.priors.random_layered([6, 9, 8, 5], 0.5, seed=0)
    reduce = np.full(len(g), "sum", dtype="<U4")
    reduce[6:9], reduce[15:18] = "max", "prod"
    g.set_node_column("reduce", reduce)
    if normed:
        return dg.MaskedDeepDAN(4, 3, g, True, activation="tanh", seed=0)
    return dg.MaskedDeepDAN.from_graph(g, activation="tanh", seed=0)


def into(net):
    """Return the edges into maxima and products, as a set of pairs."""
    special = np.flatnonzero(net.structure_facts.reduce != 0)
    src, dst = net.core.edge_set.pairs()
    mine = np.isin(dst, special)
    return set(zip(src[mine].tolist(), dst[mine].tolist(), strict=True))


REWIRERS = {
    "SET": lambda net, inner: dg.SET(net, inner, every=1, drop_fraction=0.4, seed=0),
    "all of them": lambda net, inner: dg.SET(net, inner, every=1, drop_fraction=1.0, by="magnitude", seed=0),
    "RigL": lambda net, inner: dg.RigL(net, inner, every=1, until=100, drop_fraction=0.4, seed=0),
    "RigL per target": lambda net, inner: dg.RigL(
        net, inner, every=1, until=100, drop_fraction=0.4, group="target", seed=0
    ),
    "SNFS": lambda net, inner: dg.SNFS(net, inner, every=1, until=100, drop_fraction=0.4, seed=0),
    "MEST": lambda net, inner: dg.MEST(net, inner, every=1, until=100, drop_fraction=0.4, seed=0),
    "GMP": lambda net, inner: dg.GMP(net, inner, density=0.3, every=1, until=4, seed=0),
}


@pytest.mark.filterwarnings("ignore:the structure has")
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("kind", REWIRERS)
def test_edges_into_maxima_and_products_stay_as_they_are(kind, normed):
    net = model(normed)
    before, start = into(net), net.core.edge_set.digest()
    optimizer = REWIRERS[kind](net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9))
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 5):
        optimizer.zero_grad()
        net(torch.randn(12, 4 if normed else 6, generator=generator)).square().sum().backward()
        optimizer.step()
        assert sum(edges.num_edges for edges in net.edge_sets) == optimizer.budget(step)
        assert into(net) == before
    assert net.core.edge_set.digest() != start
    assert before


def test_free_pairs_of_shut_targets_are_none():
    edges = EdgeSet.from_pairs([0, 0, 1, 2], [1, 2, 2, 0], 3, 3)
    shut = np.array([False, False, True])
    free = free_pairs(edges, np.array([3]), shut)
    assert (free.num_edges, free.count) == (1, 5)
    u, v = free.take(np.arange(free.count))
    assert set(zip(u.tolist(), v.tolist(), strict=True)) == {(0, 0), (1, 0), (2, 0), (1, 1), (2, 1)}
    assert [part.tolist() for part, _, v in absent_into(free, np.array([1, 2])) if len(v)] == [[1, 2]]


@pytest.mark.parametrize("kind", [dg.DEEPR, dg.SoftDEEPR])
def test_walks_through_zero_are_refused(kind):
    with pytest.raises(UnsupportedOperationError, match=r"expected nodes that sum, .* got 6 nodes in 'graph' that red"):
        kind(model(), lr=0.1, seed=0)
