"""Graphs with maximum and product nodes as modules: the column `reduce` is computed, edited, saved, read back."""

import copy

import numpy as np
import pytest
import torch

import deepgraph as dg
from deepgraph.errors import UnsupportedOperationError


def pooled(seed=0):
    """Return a graph of 6 inputs, 5 maxima and products, 4 sums of relu and 2 outputs."""
    g = dg.priors.random_layered([6, 5, 4, 2], 0.8, seed=seed, skip=1)
    rng = np.random.default_rng(seed)
    g.set_column("weight", rng.standard_normal(g.number_of_edges()).astype(np.float32))
    g.set_node_column("reduce", np.array(["sum"] * 6 + ["max", "prod", "max", "prod", ""] + ["sum"] * 4 + ["max"] * 2))
    return g


def by_hand(g, x):
    """Return what the graph computes, neuron by neuron."""
    src, dst = g.edge_arrays()
    w = torch.from_numpy(np.array(g.column("weight"))).to(x.dtype)
    values = {v: x[:, i] for i, v in enumerate(g.input_positions().tolist())}
    outputs = g.output_positions().tolist()
    for v in np.argsort(g.stage_array(), kind="stable").tolist():
        if v in values:
            continue
        rows = np.flatnonzero(dst == v).tolist()
        terms = torch.stack([w[e] * values[int(src[e])] for e in rows]) if rows else torch.zeros(1, len(x)).to(x)
        join = {"max": lambda t: t.amax(0), "prod": lambda t: t.prod(0)}.get(str(g.node_column("reduce")[v]))
        z = join(terms) if join else terms.sum(0)
        values[v] = z if v in outputs else torch.relu(z)
    return torch.stack([values[v] for v in outputs], 1)


@pytest.mark.parametrize("seed", range(5))
def test_a_graph_with_maxima_and_products_computes_them(seed):
    g = pooled(seed)
    model = dg.MaskedDeepDAN.from_graph(g, dtype=torch.float64)
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(model(x), by_hand(g, x))
    assert model.plan.parts[0].storage == "csr"


def test_the_column_survives_edits_copies_state_and_structure(tmp_path):
    model = dg.MaskedDeepDAN.from_graph(pooled(), dtype=torch.float64)
    model.graph.remove_edge(*next(iter(model.graph.edges)))
    x = torch.randn(3, 6, dtype=torch.float64)
    expected = by_hand(model.graph, x)
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(copy.deepcopy(model)(x), expected)
    again = type(model).from_config(model.config())
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(x), expected)
    dg.save(model.graph.copy(), tmp_path / "g.dg")
    torch.testing.assert_close(
        dg.MaskedDeepDAN.from_graph(dg.load(tmp_path / "g.dg"), dtype=torch.float64)(x), expected
    )


def test_with_stem_head_and_layer_norm():
    for norm in (False, True):
        model = dg.MaskedDeepDAN(8, 2, pooled(), use_layer_norm=norm, seed=0)
        model(torch.randn(4, 8)).sum().backward()
        assert all(p.grad is not None for p in model.parameters())
    whole = model.generate_structure(include_input=True, include_output=True)
    assert whole.node_column("reduce")[[5, 14, 15, 24, 25]].tolist() == ["sum", "max", "prod", "max", "sum"]


def test_masked_storage_refuses():
    with pytest.raises(
        UnsupportedOperationError, match=r"storage='masked': expected nodes that sum, got 6 that reduce"
    ):
        dg.MaskedDeepDAN.from_graph(pooled(), storage="masked")


def test_rigl_does_not_grow_into_nodes_that_do_not_sum():
    g = dg.priors.random_layered([10, 12, 12, 6], 0.3, seed=0)
    g.set_node_column("reduce", np.array(["sum"] * 14 + ["max"] * 3 + ["prod"] * 3 + ["sum"] * 20))
    model = dg.MaskedDeepDAN.from_graph(g, seed=0)
    optimizer = dg.RigL(
        model, torch.optim.SGD(model.parameters(), lr=0.01), every=2, until=9, drop_fraction=0.1, seed=0
    )
    for _ in range(8):
        optimizer.zero_grad()
        model(torch.randn(16, 10)).square().sum().backward()
        optimizer.step()
    grown = [int(v) for edit in model.graph.history for v in edit.grown[1]]
    assert grown
    assert all(model.graph.node_column("reduce")[v] == "sum" for v in grown)
