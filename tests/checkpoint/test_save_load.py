"""Law 7: what is saved and loaded goes on as if nothing had happened; a bad file changes nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.checkpoint import load, rng_state, save
from deepgraph.errors import ArgumentError, DtypeError, EditRefusedError, FileFormatError, UnsupportedOperationError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.priors import random_layered
from deepgraph.rewire import SET, RigL
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN, edge_values, follow


def ffn(storage: str = "csr", seed: int = 0) -> MaskedDeepFFN:
    return MaskedDeepFFN(6, 3, [8, 7], density=0.4, storage=storage, seed=seed)


def dan(storage: str = "csr", seed: int = 0) -> MaskedDeepDAN:
    return MaskedDeepDAN(6, 3, random_layered([5, 6, 4], 0.5, seed=1), storage=storage, seed=seed)


def from_graph(storage: str = "csr", seed: int = 0) -> MaskedDeepDAN:
    return MaskedDeepDAN.from_graph(random_layered([6, 8, 5, 3], 0.5, seed=1), storage=storage, seed=seed)


MODELS = {"ffn": ffn, "dan": dan, "from_graph": from_graph}


def train(model: nn.Module, optimizer: Any, scheduler: Any, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        x, y = torch.randn(5, 6), torch.randint(3, (5,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def setup(make: Any, storage: str, algorithm: Any = RigL, seed: int = 0) -> dict[str, Any]:
    model = make(storage, seed)
    inner = torch.optim.Adam(model.parameters(), lr=0.01)
    optimizer = algorithm(model, inner, every=3, until=100, drop_fraction=0.3, seed=seed)
    return {"model": model, "optimizer": optimizer, "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.5)}


def fingerprint(objects: dict[str, Any]) -> str:
    """Return bytes of all states as text."""
    parts: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            parts.append(f"{value.dtype}{tuple(value.shape)}{value.detach().cpu().numpy().tobytes().hex()}")
        elif isinstance(value, dict):
            for key in value:
                parts.append(repr(key))
                walk(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        else:
            parts.append(repr(value))

    for name, value in objects.items():
        parts.append(name)
        walk(value.state_dict())
        if isinstance(value, nn.Module):
            parts.extend(f"{e.edge_set.digest()} {len(e.edge_set.history)}" for e in edge_values(value))
    return "|".join(parts)


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("algorithm", [RigL, SET])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, kind: str, storage: str, algorithm: Any) -> None:
    torch.manual_seed(5)
    whole = setup(MODELS[kind], storage, algorithm)
    train(*whole.values(), 8)
    save({**whole, "rng": rng_state(), "step": 8}, tmp_path / "run.dg")
    expected = train(*whole.values(), 7)

    model = load(tmp_path / "run.dg")["model"]
    torch.manual_seed(99)
    resumed = setup(lambda *_: model, storage, algorithm, seed=3)
    train(*resumed.values(), 2)
    found = load(tmp_path / "run.dg", into={"rng": rng_state(), **dict(reversed(resumed.items()))})
    assert (found["step"], found["model"] is model) == (8, True)
    assert train(*resumed.values(), 7) == expected
    assert fingerprint(resumed) == fingerprint(whole)
    assert [repr(e) for e in model.graph.history] == [repr(e) for e in whole["model"].graph.history]


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_module_of_ours_is_rebuilt(tmp_path: Path, kind: str, storage: str) -> None:
    model = MODELS[kind](storage)
    src, dst = model.graph.edge_arrays()
    model.graph.edit(drop=(src[:2], dst[:2]), step=4, reason="by hand")
    save(model, tmp_path / "model.dg")
    again = load(tmp_path / "model.dg")
    x = torch.randn(4, 6)
    assert type(again) is type(model)
    assert torch.equal(again(x), model(x))
    assert again.graph.digest() == model.graph.digest()
    assert [e.storage for e in edge_values(again)] == [e.storage for e in edge_values(model)]
    assert [(e.step, e.reason) for e in again.graph.history] == [(4, "by hand")]
    again.graph.undo()
    model.graph.undo()
    assert again.graph.digest() == model.graph.digest()


def test_edges_are_adopted_before_optimizer_state(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one, two = setup(ffn, "csr"), setup(ffn, "csr", seed=7)
    train(*one.values(), 5)
    train(*two.values(), 3)
    save(one, tmp_path / "run.dg")
    load(
        tmp_path / "run.dg", into={"scheduler": two["scheduler"], "optimizer": two["optimizer"], "model": two["model"]}
    )
    assert fingerprint(one) == fingerprint(two)


# -- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int8, torch.bool, torch.complex64,
              torch.float8_e4m3fn, torch.uint16],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_tensors(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    value = torch.rand(shape).to(torch.float32).mul(3).to(dtype)
    save({"x": value, "t": value.t() if value.ndim == 2 else value}, tmp_path / "x.dg")
    found = load(tmp_path / "x.dg")
    assert (found["x"].dtype, found["x"].shape) == (dtype, torch.Size(shape))
    assert found["x"].view(torch.uint8).tolist() == value.view(torch.uint8).tolist() if shape else True
    assert found["t"].shape == (shape[::-1] if len(shape) == 2 else shape)


def test_plain_data(tmp_path: Path) -> None:
    value = {
        "none": None, "int": 2**80, "nan": float("inf"), "tuple": (1, "a", [2.5]), "keys": {1: "a", (2, 3): "b"},
        "counter": Counter("abca"), "ordered": OrderedDict(b=1, a=2), "bytes": b"\0\xff", "set": {1, "x"},
        "scalar": np.float32(0.1), "array": np.arange(6).reshape(2, 3), "text": np.array(["a", "bc"]),
        "dtype": torch.bfloat16, "device": torch.device("cpu"), "size": torch.Size([2, 3]), "empty": {},
    }  # fmt: skip
    save(value, tmp_path / "x.dg")
    found = load(tmp_path / "x.dg")
    assert list(found) == list(value)
    for name in set(value) - {"array", "text"}:
        assert found[name] == value[name]
        assert type(found[name]) is type(value[name])
    assert (found["array"] == value["array"]).all()
    assert found["text"].tolist() == ["a", "bc"]


def test_graphs_and_single_objects(tmp_path: Path) -> None:
    g = random_layered([3, 4, 2], 0.5, seed=0)
    save({"before": g, "nested": {"deep": [g]}}, tmp_path / "x.dg")
    found = load(tmp_path / "x.dg")
    assert found["before"].digest() == found["nested"]["deep"][0].digest() == g.digest()
    g.save(tmp_path / "g.dg")
    assert load(tmp_path / "g.dg").digest() == CachedLayeredGraph.load(tmp_path / "g.dg").digest() == g.digest()
    save([1, g.history], tmp_path / "y.dg")
    assert len(load(tmp_path / "y.dg")[1]) == 0
    with pytest.raises(FileFormatError, match="expected one graph, got something else"):
        CachedLayeredGraph.load(tmp_path / "x.dg")


def test_random_state_is_restored_on_request(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return torch.rand(1).item(), float(np.random.normal()), random.gauss(0, 1)

    draw()
    save({"rng": rng_state()}, tmp_path / "x.dg")
    first = draw()
    before = draw()
    state = load(tmp_path / "x.dg")["rng"]
    assert draw() not in (first, before)
    state.restore()
    assert draw() == first
    assert load(tmp_path / "x.dg", into={"rng": rng_state()})["rng"] is not None
    assert draw() == first


def test_another_numpy_generator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "get_state", lambda legacy: ("PCG64",))
    with pytest.raises(UnsupportedOperationError, match="expected numpy's global MT19937, got another generator"):
        rng_state()


def test_other_modules_and_optimizers_load_into_what_the_caller_built(tmp_path: Path) -> None:
    one, two = (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(2))
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (one, two)]
    one(torch.randn(4, 3)).sum().backward()
    optimizers[0].step()
    save({"m": one, "o": optimizers[0]}, tmp_path / "x.dg")
    state = load(tmp_path / "x.dg")
    assert set(state["m"]) == set(one.state_dict())
    assert state["m"]._metadata["1"] == {"version": 2}
    load(tmp_path / "x.dg", into={"m": two, "o": optimizers[1]})
    assert fingerprint({"m": two, "o": optimizers[1]}) == fingerprint({"m": one, "o": optimizers[0]})


def test_a_module_inside_another_keeps_its_history(tmp_path: Path) -> None:
    def make(seed: int) -> nn.Module:
        return nn.Sequential(ffn(seed=seed), nn.Linear(3, 3))

    one, two = make(0), make(1)
    src, dst = one[0].edge_sets[0].pairs()
    one[0].edge_sets[0].edit(drop=(src[:1], dst[:1]), reason="by hand")
    save({"m": one}, tmp_path / "x.dg")
    load(tmp_path / "x.dg", into={"m": two})
    assert [e.reason for e in two[0].edge_sets[0].history] == ["by hand"]
    assert two[0].graph.digest() == one[0].graph.digest()


def test_room_for_edges_is_kept(tmp_path: Path) -> None:
    model = ffn()
    for values in edge_values(model):
        values.reserve(values.edge_set.num_edges + 5)
    save(model, tmp_path / "x.dg")
    again = load(tmp_path / "x.dg")
    assert [v.capacity for v in edge_values(again)] == [v.capacity for v in edge_values(model)]


# -- refused -----------------------------------------------------------------------------------------------


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    for value, message in [
        ({"a": {"b": [print]}}, r"a\['b'\]\[0\]: expected plain data, arrays, graphs or objects with state_dict, got"),
        ({"a": torch.eye(2).to_sparse()}, "a: expected a dense tensor of numbers, got torch.sparse_coo"),
        ({"a": torch.empty(1, device="meta")}, "a: expected a dense tensor of numbers"),
        ({"a": np.array([None])}, "a: expected an array of numbers, booleans or strings, got dtype object"),
    ]:
        with pytest.raises(DtypeError, match=message):
            save(value, tmp_path / "x.dg")
    with pytest.raises(ArgumentError, match="expected a dict with names as keys, got the key 1"):
        save({1: 2}, tmp_path / "x.dg")
    assert not list(tmp_path.iterdir())


def test_into_must_fit_the_file(tmp_path: Path) -> None:
    model = ffn()
    save({"model": model, "o": torch.optim.Adam(model.parameters()), "step": 3}, tmp_path / "x.dg")
    for into, message in [
        ({"other": model}, r"into: expected names of \['model', 'o', 'step'\], which .*x.dg holds, got 'other'"),
        ({"step": 4}, "into: 'step': expected an object to restore a int into, got int"),
        ({"model": 4}, "into: 'model': expected an object to restore a MaskedDeepFFN into, got int"),
        ({"o": torch.optim.SGD(model.parameters())}, "into: 'o': expected a Adam, as was saved, got a SGD"),
        (model, "into: expected a dict of objects by name, got MaskedDeepFFN"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            load(tmp_path / "x.dg", into=into)


def test_nothing_is_loaded_between_a_forward_and_its_backward(tmp_path: Path) -> None:
    model = ffn()
    save({"model": model}, tmp_path / "x.dg")
    out = model(torch.randn(2, 6)).sum()
    with pytest.raises(EditRefusedError, match="cannot load weights between a forward and its backward"):
        load(tmp_path / "x.dg", into={"model": model})
    out.backward()
    load(tmp_path / "x.dg", into={"model": model})


def rewritten(path: Path, change: Any) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(parts["deepgraph.json"])
    change(dict(header["content"]["items"]))
    parts["deepgraph.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def entry(node: Any, *keys: Any) -> Any:
    """Return the pair [key, node] below a dict node."""
    for key in keys:
        pair = next(pair for pair in node["items"] if pair[0] == key)
        node = pair[1]
    return pair


def first_moment(found: Any, number: int) -> Any:
    """Return the node of the first moment of one parameter."""
    return entry(found["optimizer"]["state"], "state", number, "exp_avg")[1]


BAD: list[tuple[Any, str]] = [
    (lambda f: f["scheduler"].update(state=[]), "expected an object's class, configuration and state"),
    (lambda f: f["model"]["state"]["items"].pop(), "Missing key|expected the state of this MaskedDeepFFN"),
    (lambda f: entry(f["model"]["state"], "layers.2.bias").__setitem__(1, 3), "expected the state of this|damaged"),
    (lambda f: f["model"]["histories"].pop(), "expected a capacity for each edge set"),
    (lambda f: (f["model"]["histories"].pop(), f["model"]["capacities"].pop()), "expected 3 edge sets, got 2"),
    (lambda f: f["model"]["capacities"].__setitem__(0, 10**12), "expected capacities from 0 to"),
    (lambda f: f["optimizer"]["state"]["items"].pop(0), "expected the state of this RigL, got one that does not fit"),
    (lambda f: first_moment(f, 0).update(first_moment(f, 1)), "state 'exp_avg': expected shape"),
    (lambda f: f["rng"].update(python=[3, 0, None]), "expected shape|expected a dtype"),
    (lambda f: f["rng"]["numpy"].__setitem__(1, 10**6), "expected the state of a Mersenne twister"),
    (lambda f: f["rng"].update(torch=0), "expected"),
    (
        lambda f: f["model"]["state"].update(kind="eval"),
        "expected a value of a kind that this version knows, got 'eval'",
    ),
]


@pytest.mark.parametrize("case", range(len(BAD)))
@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_a_bad_file_changes_nothing(tmp_path: Path, case: int, storage: str) -> None:
    torch.manual_seed(1)
    saved, mine = setup(ffn, storage), setup(ffn, storage, seed=4)
    train(*saved.values(), 4)
    train(*mine.values(), 4)
    save({**saved, "rng": rng_state()}, tmp_path / "run.dg")
    change, message = BAD[case]
    rewritten(tmp_path / "run.dg", change)
    before, noise = fingerprint(mine), torch.get_rng_state()
    capacities = [v.capacity for v in edge_values(mine["model"])]
    with pytest.raises(FileFormatError, match=message):
        load(tmp_path / "run.dg", into={**mine, "rng": rng_state()})
    assert fingerprint(mine) == before
    assert capacities == [v.capacity for v in edge_values(mine["model"])]
    assert torch.equal(torch.get_rng_state(), noise)


def test_a_following_optimizer_is_put_back_too(tmp_path: Path) -> None:
    torch.manual_seed(1)
    saved, model = ffn(), ffn(seed=9)
    optimizer = torch.optim.Adam(model.parameters())
    follow(model, optimizer)
    model(torch.randn(5, 6)).sum().backward()
    optimizer.step()
    save({"model": saved}, tmp_path / "x.dg")
    rewritten(tmp_path / "x.dg", lambda f: (f["model"]["histories"].pop(), f["model"]["capacities"].pop()))
    before = fingerprint({"m": model, "o": optimizer})
    with pytest.raises(FileFormatError, match="expected 3 edge sets, got 2"):
        load(tmp_path / "x.dg", into={"model": model})
    assert fingerprint({"m": model, "o": optimizer}) == before


def test_a_file_names_no_class_but_ours(tmp_path: Path) -> None:
    save({"model": ffn()}, tmp_path / "x.dg")
    for name in ("nn.Linear", "EdgeLayer", "edge_values", "os", "__builtins__"):
        rewritten(tmp_path / "x.dg", lambda f, name=name: f["model"].update({"class": name}))
        with pytest.raises(FileFormatError, match=r"expected a module of deepgraph\.sparse, got"):
            load(tmp_path / "x.dg")
    rewritten(tmp_path / "x.dg", lambda f: f["model"].update({"class": "MaskedDeepDAN"}))
    with pytest.raises(FileFormatError, match="expected the configuration of a MaskedDeepDAN"):
        load(tmp_path / "x.dg")


def test_names_come_once(tmp_path: Path) -> None:
    save({"a": 1, "b": 2}, tmp_path / "x.dg")
    with zipfile.ZipFile(tmp_path / "x.dg") as archive:
        text = archive.read("deepgraph.json").decode().replace('"b"', '"a"')
    with zipfile.ZipFile(tmp_path / "x.dg", "w") as archive:
        archive.writestr("deepgraph.json", text)
    with pytest.raises(FileFormatError, match="expected names, each once, got others"):
        load(tmp_path / "x.dg")


TRAINING = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from test_save_load import RigL, ffn, rng_state, save, setup, train
torch.manual_seed(0)
run = setup(ffn, "csr")
for k in range(10**6):
    train(*run.values(), 1)
    save({**run, "rng": rng_state(), "step": k}, sys.argv[1])
    print(k, flush=True)
"""


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "run.dg"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", TRAINING, str(path), str(Path(__file__).parent)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    for _ in range(6):
        child.stdout.readline()
    time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    resumed = setup(ffn, "csr", seed=8)
    step = load(path, into={**resumed, "rng": rng_state()})["step"]
    assert step >= 5
    train(*resumed.values(), 5)
    torch.manual_seed(0)
    whole = setup(ffn, "csr")
    train(*whole.values(), step + 1 + 5)
    assert fingerprint(resumed) == fingerprint(whole)


def test_public_names() -> None:
    import deepgraph.checkpoint

    assert deepgraph.checkpoint.__all__ == ["RngState", "load", "rng_state", "save"]
    assert dg.CachedLayeredGraph is CachedLayeredGraph
