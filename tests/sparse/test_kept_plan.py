"""Which storage "auto" takes, and that a module keeps its plan through files and calibrations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import deepgraph as dg
from deepgraph.demo.calibration import crossover
from deepgraph.errors import ArgumentError
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.thresholds import Thresholds, use_thresholds
from deepgraph.sparse import edge_values

MODELS = {
    "ffn": lambda density: dg.MaskedDeepFFN(6, 3, [8, 7], density=density, seed=0),
    "graph": lambda density: dg.MaskedDeepDAN.from_graph(dg.priors.random_layered([6, 8, 3], density, seed=0), seed=0),
    "dan": lambda density: dg.MaskedDeepDAN(6, 3, dg.priors.random_layered([6, 8, 4], density, seed=0), seed=0),
    "conv": lambda density: dg.SparseConv1d(6, 3, 5, density, seed=0),
}


@pytest.fixture
def fixed_table():
    before = use_thresholds(None)
    yield
    use_thresholds(before)


@pytest.mark.parametrize("kind", MODELS)
def test_a_file_keeps_storages_whatever_density_and_thresholds_are_now(kind, tmp_path, fixed_table):
    use_thresholds(Thresholds(numba=0.3, torch=0.3, windows=0.3, file="here.json"))
    model = MODELS[kind](0.6)
    assert all(layer.storage == "masked" for layer in model._layers())
    assert "by here.json" in str(model.plan)
    for values in edge_values(model):
        src, dst = values.edge_set.pairs()
        gone = len(src) * 4 // 5
        values.edge_set.edit(drop=(src[:gone].copy(), dst[:gone].copy()))
    dg.save(model, tmp_path / "model")
    use_thresholds(Thresholds(numba=1.0, torch=1.0, windows=1.0, file="there.json"))
    found = dg.load(tmp_path / "model")
    assert str(found.plan) == str(model.plan)
    assert [v.parameter.shape for v in edge_values(found)] == [v.parameter.shape for v in edge_values(model)]
    if kind != "graph":
        assert "there.json" in str(MODELS[kind](0.6).plan)


def test_auto_picks_each_layer_by_its_own_density():
    model = dg.MaskedDeepFFN(50, 10, [40, 30], density=[0.05, 0.9, 1.0], seed=0)
    assert [layer.storage for layer in model._layers()] == ["csr", "masked", "masked"]
    assert [part.storage for part in model.plan.parts] == ["csr", "masked"]
    assert "edge values because 5.00% of the pairs are edges" in str(model.plan)


@pytest.mark.skipif(not has_numba(), reason="few rows are a matter of the compiled kernels")
def test_auto_picks_by_the_batch_that_a_model_is_made_for_and_stays_with_it(tmp_path, fixed_table):
    wide, sizes = (300, 300, [300]), [300, 300, 300]
    storages = {
        batch: [layer.storage for layer in dg.MaskedDeepFFN(*wide, density=[0.4, 0.9], batch=batch, seed=0)._layers()]
        for batch in (1, 4, 16, 128)
    }
    assert storages == {1: ["masked"] * 2, 4: ["csr"] * 2, 16: ["csr", "masked"], 128: ["csr", "masked"]}
    g = dg.priors.random_layered(sizes, 0.4, seed=0)
    makers = {
        "linear": lambda batch: dg.SparseLinear(300, 300, 0.4, batch=batch, seed=0),
        "graph": lambda batch: dg.MaskedDeepDAN.from_graph(g, batch=batch, seed=0),
        "dan": lambda batch: dg.MaskedDeepDAN(4, 2, g, batch=batch, seed=0),
        "small": lambda batch: dg.MaskedDeepFFN(9, 3, [8], density=1.0, batch=batch, seed=0),
    }
    for kind, make in makers.items():
        model = make(1)
        assert {part.batch for part in model.plan.parts} == {1}
        assert "at batch 1 about" in str(model.plan)
        assert "made for batch" not in str(model.plan)
        x = torch.ones(2, model._layers()[0].edge_set.num_sources if kind != "graph" else 300)
        other = make(128)
        before = [layer.storage for layer in other._layers()]
        torch.testing.assert_close(model(x), other(x))
        plan = str(other.plan_for(1))
        assert "at batch 1 about" in plan
        if kind == "small":
            assert "made for batch 128: at batch 1 'auto' takes csr for layer 0, layer 1; build the model with" in plan
        if kind == "linear":
            assert "made for batch 128: at batch 1 'auto' takes masked for linear; build the model with batch=1" in plan
        with torch.no_grad():
            other(x[:1])
        assert [layer.storage for layer in other._layers()] == before
        dg.save(model, tmp_path / kind)
        assert str(dg.load(tmp_path / kind).plan) == str(model.plan)
    with pytest.raises(ArgumentError, match="batch: expected an integer from 1"):
        makers["linear"](0)
    with pytest.raises(ArgumentError, match="batch: expected an integer from 1"):
        model.plan_for(0)


def test_every_kind_of_engine_has_a_plan_for_a_batch():
    g = dg.priors.random_layered([3, 4, 2], 0.8, seed=0)
    for model in (
        dg.SparseConv2d(2, 3, 3, 0.5, seed=0),
        dg.MaskedDeepDAN.from_graph(g, cell=dg.cells.Linear(2), seed=0),
        dg.MaskedDeepDAN(4, 2, g, True, seed=0),
    ):
        parts = zip(model.plan.parts, model.plan_for(256).parts, strict=True)
        assert all(b.multiply_adds == 2 * a.multiply_adds and b.batch == 256 for a, b in parts)


@pytest.mark.parametrize("storage", ["csr", "coo", "masked"])
def test_storages_give_the_same_and_masked_stays_zero_off_the_mask(storage):
    runs = []
    for kind in ("masked", storage):
        model = dg.MaskedDeepFFN(6, 3, [8], density=0.4, storage=kind, seed=0, dtype=torch.float64)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(5, 6, dtype=torch.float64)).square().sum().backward()
            optimizer.step()
        runs.append([values.values() for values in edge_values(model)])
        for values in edge_values(model) if kind == "masked" else ():
            off = ~values.mask()
            assert not values.parameter[off].any()
            assert not values.parameter.grad[off].any()
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one, other)


def test_the_forward_of_masked_storage_does_not_multiply_by_a_mask():
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.4, storage="masked", seed=0)
    with torch.no_grad():
        values = edge_values(model)[0]
        values.parameter[~values.mask()] = 1.0  # what only other code does, and would show
        changed = model(torch.ones(1, 6))
        values.parameter[~values.mask()] = 0.0
    assert not torch.equal(changed, model(torch.ones(1, 6)))


def test_calibration_finds_the_crossover_and_a_plan_names_its_file(tmp_path, fixed_table):
    path = tmp_path / "here.json"
    table = dg.calibrate(path, width=16, channels=4, batch=8, rounds=1)
    assert table.file == "here.json"
    assert dg.use_calibration(path) == table
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.4, seed=0)
    assert "by here.json" in str(model.plan)
    assert (table.numba == Thresholds().numba) or has_numba()
    assert dg.use_calibration(None) == Thresholds()
    assert "here.json" not in str(dg.MaskedDeepFFN(6, 3, [8], density=0.4, seed=0).plan)
    assert "by here.json" in str(model.plan)


def test_crossover():
    ladder = [0.1, 0.2, 0.4]
    assert crossover(ladder, [4.0, 2.0, 1.0]) == 0.4
    assert crossover(ladder, [4.0, 2.0, 0.5]) == pytest.approx(np.sqrt(0.08), abs=1e-4)
    assert crossover(ladder, [0.5, 2.0, 0.5]) == 0
    with pytest.raises(ArgumentError, match="expected a ratio > 0 for each density, got"):
        crossover(ladder, [1.0])
