"""The recorder: counts that equal those of the edges themselves, for every rewirer, and a record that resumes."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import deepgraph as dg
from deepgraph.analysis import MEASURES, Recorder
from deepgraph.analysis.edge_tally import EdgeTally
from deepgraph.errors import ArgumentError, DtypeError, MissingColumnError, MissingDependencyError
from deepgraph.graph import EdgeSet


def ffn(seed=0, **options):
    return dg.MaskedDeepFFN(12, 4, [10, 8], density=0.3, seed=seed, **options)


def dan(seed=0):
    return dg.MaskedDeepDAN(12, 4, dg.priors.watts_strogatz(30, 4, 0.3, seed=1), seed=seed)


def sparsified(seed=0):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(12, 10), torch.nn.ReLU(), torch.nn.Linear(10, 4))
    return dg.sparse.sparsify(net, 0.4, seed=seed)


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=0.01)


OPTIMIZERS = {
    "Static": lambda model: dg.Static(model, adam(model)),
    "SET": lambda model: dg.SET(model, adam(model), every=3, seed=0),
    "RigL": lambda model: dg.RigL(model, adam(model), every=3, until=100, seed=0),
    "DEEPR": lambda model: dg.DEEPR(model, lr=0.1, l1=0.5, temperature=1e-3, seed=0),
    "plain": adam,
}


def train(model, optimizer, steps, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x, y = torch.randn(16, 12, generator=draw), torch.randint(4, (16,), generator=draw)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def pairs_of(model):
    """Return the sparse edges of all sets of a model: (set, source, target)."""
    held = [values.edge_set for values in dg.sparse.edge_values(model)]
    return {
        (at, *pair)
        for at, edges in enumerate(held)
        if edges.num_edges < edges.num_admissible
        for pair in zip(*(side.tolist() for side in edges.pairs()), strict=True)
    }


@pytest.mark.parametrize("build", [ffn, dan, sparsified], ids=lambda build: build.__name__)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_counts_are_those_of_the_edges(build, name):
    model = build()
    optimizer = OPTIMIZERS[name](model)
    recorder = Recorder(model, optimizer, every=4, seed=0)
    start = now = pairs_of(model)
    ever = set(start)
    dropped = grown = 0
    for step in range(1, 9):
        train(model, optimizer, 1, seed=step)
        before, now = now, pairs_of(model)
        ever |= now
        dropped, grown = dropped + len(before - now), grown + len(now - before)
    last = recorder.rows[-1]
    assert recorder.steps == last["step"] == 8
    assert last["edges"] == len(now)
    assert last["jaccard"] == pytest.approx(len(start & now) / len(start | now))
    admissible = sum(tally.edge_set.num_admissible for tally in recorder._tallies)
    assert last["itop"] == pytest.approx(len(ever) / admissible)
    assert recorder["dropped"].sum() == dropped
    assert recorder["grown"].sum() == grown
    assert recorder["churn"] == pytest.approx(recorder["dropped"] / np.roll(recorder["edges"], 1))
    if name in ("Static", "plain"):
        assert recorder["step"].tolist() == [0, 4, 8]
        assert recorder["jaccard"].tolist() == [1, 1, 1]
    else:
        assert last["jaccard"] < 1


def test_measures_come_every_few_steps_and_are_those_of_the_graph():
    model = ffn()
    optimizer = OPTIMIZERS["SET"](model)
    recorder = Recorder(model, optimizer, every=4, measures=["gini_fan_in", "modularity", MEASURES["edges"]], seed=5)
    train(model, optimizer, 8)
    assert recorder["step"].tolist() == [0, 3, 4, 6, 8]
    assert np.isnan(recorder["gini_fan_in"]).tolist() == [False, True, False, True, False]
    assert recorder["gini_fan_in"][-1] == dg.analysis.fan(model.graph).gini
    assert recorder.curve("modularity")["step"].tolist() == [0, 4, 8]


def test_notes_go_into_the_row_of_their_step():
    model = ffn()
    recorder = Recorder(model, every=2, measures=[])
    recorder.note(loss=2.0)
    recorder.step()
    recorder.note(loss=1.5, accuracy=0.5)
    recorder.step()
    assert recorder.curve("loss") == {"step": pytest.approx([0, 1]), "loss": pytest.approx([2.0, 1.5])}
    assert recorder["step"].tolist() == [0, 1, 2]
    assert recorder.names[-2:] == ["loss", "accuracy"]
    with pytest.raises(ArgumentError, match="names of one's own, got edges"):
        recorder.note(edges=3)
    with pytest.raises(MissingColumnError, match="did you mean accuracy"):
        recorder["acuracy"]


def test_frame(monkeypatch):
    pandas = pytest.importorskip("pandas")
    model = ffn()
    optimizer = OPTIMIZERS["RigL"](model)
    recorder = Recorder(model, optimizer, every=4, seed=0)
    train(model, optimizer, 6)
    recorder.note(accuracy=0.25)
    frame = recorder.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == recorder.names
    assert len(frame) == len(recorder)
    assert frame["edges"].dtype == np.int64
    assert frame["accuracy"].tolist()[-1] == 0.25
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="expected pandas"):
        recorder.to_frame()


@pytest.mark.parametrize("name", ["SET", "RigL", "DEEPR"])
@pytest.mark.parametrize("model_first", [True, False])
def test_a_resumed_record_equals_an_uninterrupted_one(name, model_first, tmp_path):
    def make(seed):
        model = ffn(seed)
        optimizer = OPTIMIZERS[name](model)
        return model, optimizer, Recorder(model, optimizer, every=4, measures=["modularity"], seed=seed)

    model, optimizer, whole = make(0)
    train(model, optimizer, 5, seed=1)
    dg.save({"model": model, "optimizer": optimizer, "recorder": whole}, tmp_path / "run.dg")
    train(model, optimizer, 6, seed=2)
    again, other, resumed = make(7)
    if model_first:
        dg.load(tmp_path / "run.dg", into={"model": again, "optimizer": other, "recorder": resumed})
    else:
        saved = dg.load(tmp_path / "run.dg")
        resumed.load_state_dict(saved["recorder"])
        dg.load(tmp_path / "run.dg", into={"model": again, "optimizer": other})
    train(again, other, 6, seed=2)
    assert resumed.rows == whole.rows
    assert repr(resumed) == repr(whole)


def test_what_is_loaded_before_training_is_the_start():
    trained = ffn()
    optimizer = OPTIMIZERS["SET"](trained)
    train(trained, optimizer, 6)
    model = ffn()
    plain = adam(model)
    recorder = Recorder(model, plain, every=2, seed=0)
    recorder.note(accuracy=0.1)
    model.load_state_dict(trained.state_dict())
    train(model, plain, 2)
    assert recorder["jaccard"].tolist() == [1, 1]
    assert recorder["gini_fan_in"][0] == dg.analysis.fan(trained.graph).gini
    assert recorder["accuracy"][0] == 0.1


def test_dense_sets_count_only_where_all_are_dense():
    mixed = dan()
    assert Recorder(mixed).rows[0]["edges"] == mixed.graph.number_of_edges()
    dense = dg.MaskedDeepFFN(6, 3, [5], density=1.0, seed=0)
    recorder = Recorder(dense, every=1)
    edges = dense.edge_sets[0]
    edges.edit(drop=([0], [0]))
    recorder.step()
    assert recorder["edges"].tolist() == [45, 44]
    edges.undo()
    recorder.step()
    assert recorder["jaccard"].tolist() == [1, 44 / 45, 1]


def test_a_forgotten_recorder_is_let_go():
    model = ffn()
    optimizer = adam(model)
    gone = weakref.ref(Recorder(model, optimizer))
    gc.collect()
    assert gone() is None
    train(model, optimizer, 1)


def test_refusals():
    with pytest.raises(ArgumentError, match="every must be a number of steps >= 1, got 0"):
        Recorder(ffn(), every=0)
    with pytest.raises(ArgumentError, match="expected a model with edge sets, got a Linear without"):
        Recorder(torch.nn.Linear(2, 2))
    with pytest.raises(DtypeError, match=r"expected a torch.optim.Optimizer or a rewirer, got int"):
        Recorder(ffn(), 3)
    with pytest.raises(ArgumentError, match="got sigma_er, defined against nulls"):
        Recorder(ffn(), measures=["sigma_er"])
    with pytest.raises(ArgumentError, match="got the text 'edges'"):
        Recorder(ffn(), measures="edges")
    with pytest.raises(DtypeError, match=r"expected a CachedLayeredGraph or a model with \.graph"):
        Recorder(sparsified(), measures=["gini_fan_in"])
    state = Recorder(dan()).state_dict()
    with pytest.raises(ArgumentError, match="the record of 3 edge sets, got that of 1"):
        Recorder(ffn()).load_state_dict(state)
    state = Recorder(dg.MaskedDeepFFN(12, 4, [9, 8], density=0.3, seed=0)).state_dict()
    with pytest.raises(ArgumentError, match=r"expected .* of shape \[12, 10\], got \[12, 9\]"):
        Recorder(ffn()).load_state_dict(state)


@given(st.lists(st.sets(st.integers(0, 19), max_size=6), max_size=6), st.sets(st.integers(0, 19)))
def test_a_tally_follows_any_edits(toggles, start):
    split = {key: divmod(key, 5) for key in range(20)}
    edges = EdgeSet.from_pairs([split[k][0] for k in sorted(start)], [split[k][1] for k in sorted(start)], 4, 5)
    tally = EdgeTally(edges)
    now, ever = set(start), set(start)
    for keys in toggles:
        drop, grow = sorted(keys & now), sorted(keys - now)
        edges.edit(
            drop=([split[k][0] for k in drop], [split[k][1] for k in drop]),
            grow=([split[k][0] for k in grow], [split[k][1] for k in grow]),
        )
        now ^= keys
        ever |= now
        assert tally.common == len(now & start)
        assert tally.ever.tolist() == sorted(ever)
