"""The command: what it prints, what it writes, its errors and its exit status."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import deepgraph as dg
from deepgraph.cli import main

METHODS = ["dense", "ffn_static", "ffn_rigl", "ffn_deepr", "dan_static", "dan_rigl"]
PICTURES = ["training", "layers", "degrees", "spy", "edits", "inputs"]


def run(*arguments: object) -> tuple[int, str]:
    """Return exit status and standard output of one call."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        status = main([str(argument) for argument in arguments])
    return status, printed.getvalue()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, Any]]:
    """Return text, folder and JSON file of one quick demo."""
    out = tmp_path_factory.mktemp("demo") / "new" / "out"
    status, text = run("demo", "--quick", "--out", out)
    assert status == 0
    return text, out, json.loads((out / "demo.json").read_text())


def test_demo_prints_a_table_with_every_method(demo: tuple[str, Path, dict[str, Any]]) -> None:
    text, _, content = demo
    assert text.startswith("few images: everything runs, and no number below means anything")
    head = next(line for line in text.splitlines() if line.startswith("method"))
    assert head.split("  ")[0] == "method"
    for column in ("accuracy", "95 % interval", "edges", "density", "ms/step", "faster than dense"):
        assert column in head
    for method in content["methods"].values():
        row = next(line for line in text.splitlines() if line.startswith(method["label"]))
        assert f"{100 * method['accuracy']:.1f} %" in row
        assert f"{method['edges']:,}" in row


def test_demo_claims_nothing_inside_the_interval(demo: tuple[str, Path, dict[str, Any]]) -> None:
    text = " ".join(demo[0].split())
    assert "a difference inside the interval is none" in text
    assert "the dense model against itself" in text


def test_demo_prints_checks_report_and_paths(demo: tuple[str, Path, dict[str, Any]]) -> None:
    text, out, _ = demo
    assert "equal to model.graph" in text
    assert "equal to generate_structure(True, True)" in text
    assert "effective_edges" in text
    for name in PICTURES:
        assert str(out / f"{name}.png") in text
    assert str(out / "demo.json") in text
    assert "effective_edges" in (out / "report.txt").read_text()


def test_demo_json_holds_all_numbers(demo: tuple[str, Path, dict[str, Any]]) -> None:
    _, out, content = demo
    assert content["complete"]
    assert list(content["methods"]) == METHODS
    for method in content["methods"].values():
        low, high = method["interval"]
        assert low < method["accuracy"] < high
        assert method["accuracy"] == method["right"] / method["images"] == method["curve"]["accuracy"][-1]
        assert len(method["curve"]["step"]) == content["settings"]["epochs"]
        assert method["step_ms"] > 0
        assert method["times_faster"]["median"] > 0
    assert content["methods"]["dense"]["times_faster"]["median"] == 1
    assert content["report"]["measures"]["edges"]["value"] == content["methods"]["dan_rigl"]["edges"]
    for name in PICTURES:
        assert content["pictures"][name] == str(out / f"{name}.png")
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [f"{n}.png" for n in PICTURES] + ["demo.json", "report.txt"]
    )


def test_demo_gives_all_sparse_networks_as_many_edges(demo: tuple[str, Path, dict[str, Any]]) -> None:
    methods = demo[2]["methods"]
    assert len({methods[key]["edges"] for key in METHODS[1:]}) == 1
    assert methods["ffn_static"]["density"] == pytest.approx(0.05, abs=1e-4)
    assert methods["dense"]["density"] == 1
    assert methods["ffn_static"]["edits"] == methods["dan_static"]["edits"] == 0
    assert all(methods[key]["edges_replaced"] > 0 for key in ("ffn_rigl", "ffn_deepr", "dan_rigl"))


def test_demo_extraction_is_checked(demo: tuple[str, Path, dict[str, Any]]) -> None:
    checks = demo[2]["extraction"]
    assert set(checks) == {"ffn_rigl", "dan_rigl"}
    for check in checks.values():
        assert check["passed"]
        assert set(check["equal"]) == {"nodes", "edges", "weights", "biases", "roles", "activations"}
        assert all(check["equal"].values())


def test_same_seed_same_accuracies_and_json_alone_on_standard_output(
    demo: tuple[str, Path, dict[str, Any]], tmp_path: Path, global_rng_untouched: None
) -> None:
    status, printed = run("demo", "--quick", "--json", "--out", tmp_path)
    assert status == 0
    content = json.loads(printed)
    for key in METHODS:
        assert content["methods"][key]["curve"] == demo[2]["methods"][key]["curve"]
    assert content["report"]["measures"] == demo[2]["report"]["measures"]


def test_ctrl_c_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import deepgraph.demo.run

    calls = []

    def interrupted(method: Any, *rest: Any) -> Any:
        calls.append(method.key)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(method, *rest)

    train = deepgraph.demo.run.train
    monkeypatch.setattr(deepgraph.demo.run, "train", interrupted)
    assert main(["demo", "--quick", "--epochs", "1", "--out", str(tmp_path)]) == 130
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "interrupted while training FFN, RigL; results so far (2 methods): " in said
    content = json.loads((tmp_path / "demo.json").read_text())
    assert not content["complete"]
    assert list(content["methods"]) == METHODS[:2]


def test_a_failed_check_is_exit_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import deepgraph.demo.run
    from deepgraph.demo.checks import Extraction

    def wrong(result: Any, *rest: Any, **options: Any) -> None:
        result.extractions["ffn_rigl"] = Extraction(dg.CachedLayeredGraph(), "model.graph", {"edges": False}, 0.0)
        result.seconds = 1.0

    monkeypatch.setattr(deepgraph.demo.run, "run_demo", wrong)
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "an extracted graph is not the one it was extracted from" in capsys.readouterr().err


def test_a_folder_of_idx_files_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import deepgraph.demo.run

    for part, count in {"train": 4, "t10k": 2}.items():
        images = struct.pack(">I3I", 0x0803, count, 28, 28) + bytes(count * 784)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(images)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x0801, count) + bytes(range(count)))
    seen = []

    def look(result: Any, *rest: Any, **options: Any) -> None:
        seen.append(result.split)
        result.seconds = 1.0

    monkeypatch.setattr(deepgraph.demo.run, "run_demo", look)
    assert main(["demo", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert len(seen[0].train) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: command"),
        (["learn"], "invalid choice: 'learn'"),
        (["demo", "--seed", "-1"], "--seed: expected a whole number from 0 on, got '-1'"),
        (["demo", "--seed", "x"], "--seed: expected a whole number from 0 on, got 'x'"),
        (["demo", "--epochs", "0"], "--epochs: expected a whole number from 1 on, got '0'"),
        (["demo", "--data", "no/such/folder"], "expected a folder with IDX files, got 'no/such/folder'"),
        (["demo", "--out", "file"], "--out: expected a folder that can be written, got 'file'"),
        (["demo", "--wrong"], "unrecognized arguments: --wrong"),
        (["benchmark", "--densities", "0"], "--densities: expected a share of pairs in (0, 1], got '0'"),
        (["benchmark", "--densities", "many"], "--densities: expected a share of pairs in (0, 1], got 'many'"),
        (["benchmark", "--threads", "0"], "--threads: expected a whole number from 1 on, got '0'"),
        (["analyse", "missing.dg"], "expected a file saved by deepgraph.save, got 'missing.dg', which is not a file"),
        (["analyse", "file"], "file"),
        (["analyse", "state.dg"], "expected a file with one graph, or one model with a graph, got 0 (step: int)"),
        (["analyse", "graph.dg", "--measures", "gini"], "unknown measure 'gini': did you mean"),
        (["analyse", "graph.dg", "--nulls", "-1"], "--nulls: expected a whole number from 0 on, got '-1'"),
        (["analyse", "broken.graphml"], "broken.graphml"),
        (["draw", "graph.dg", "-o", "a.png", "--kind", "cake"], "argument --kind: invalid choice: 'cake'"),
        (["draw", "file", "-o", "a.txt"], "-o: expected a file that ends in .png, .pdf or .svg, got 'a.txt'"),
        (["draw", "file"], "the following arguments are required: -o/--out"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"not a graph")
    (tmp_path / "broken.graphml").write_text("<graphml>")
    dg.save({"step": 3}, tmp_path / "state.dg")
    dg.save(dg.priors.random_layered([3, 3], 0.5, seed=0), tmp_path / "graph.dg")
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(str(stop.code))
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("deepgraph")
    assert message in printed.err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert "expected a folder that can be written" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import deepgraph.demo.run

    def full(*rest: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deepgraph.demo.run, "run_demo", full)
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "deepgraph demo: error: [Errno 28] No space left on device\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"deepgraph {dg.__version__}\n"


def test_errors_import_no_torch() -> None:
    import subprocess

    code = (
        "import sys; from deepgraph.cli import main\n"
        "try: main(['demo', '--seed', '-1'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_benchmark_prints_ratio_spread_and_where_sparse_loses() -> None:
    status, text = run("benchmark", "--quick", "--densities", 0.05, 1.0)
    assert status == 0
    for part in (
        "nn.Linear",
        "csr",
        "masked",
        "quartiles",
        "dense against itself",
        "faster than dense PyTorch",
        "compiled in",
    ):
        assert part in text


def test_benchmark_json() -> None:
    status, printed = run("benchmark", "--quick", "--json", "--densities", 0.05)
    content = json.loads(printed)
    assert status == 0
    assert set(content["densities"]["times_faster_than_dense"]) == {"csr 0.05", "masked 0.05", "dense again"}
    assert content["chain"]["layers"] == 500
    assert content["densities"]["threads"] == 1


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "graph.dg"
    dg.save(dg.priors.random_layered([4, 6, 3], 0.5, seed=0), path)
    return path


def test_analyse_prints_the_report(saved: Path) -> None:
    status, text = run("analyse", saved, "--nulls", 1)
    assert status == 0
    assert "13 nodes" in text
    status, printed = run("analyse", saved, "--json", "--nulls", 1)
    assert json.loads(printed)["nulls"] == 1


def test_draw_writes_a_picture(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    status, text = run("draw", saved, "-o", path)
    assert (status, text.startswith(f"{path}: 13 nodes")) == (0, True)
    assert path.read_bytes().startswith(b"\x89PNG")
    status, printed = run("draw", saved, "-o", tmp_path / "a.svg", "--json")
    assert json.loads(printed)["nodes"] == 13
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_analyse_takes_measures_by_name(saved: Path) -> None:
    status, printed = run("analyse", saved, "--measures", "edges", "gini_fan_in", "--json")
    content = json.loads(printed)
    assert (status, list(content["measures"])) == (0, ["edges", "gini_fan_in"])
    assert content["measures"]["edges"]["value"] == 21


@pytest.mark.parametrize("name", ["a.graphml", "a.json", "a.edgelist", "run.dg"])
def test_analyse_reads_other_formats_and_runs(tmp_path: Path, name: str) -> None:
    model = dg.MaskedDeepFFN(4, 2, [3], density=0.5, seed=0)
    if name == "run.dg":
        dg.save({"model": model, "step": 3}, tmp_path / name)
    else:
        model.graph.copy().save(tmp_path / name)
    status, printed = run("analyse", tmp_path / name, "--measures", "edges", "--json")
    assert (status, json.loads(printed)["measures"]["edges"]["value"]) == (0, model.num_edges)


@pytest.mark.parametrize("kind", ["layers", "blocks", "spy", "degrees", "inputs", "history", "lifetimes", "report"])
def test_draw_draws_every_kind(tmp_path: Path, kind: str) -> None:
    graph = dg.priors.random_layered([9, 6, 3], 0.5, seed=0)
    graph.edit(drop=([graph.edge_arrays()[0][0]], [graph.edge_arrays()[1][0]]), step=1)
    dg.save(graph, tmp_path / "graph.dg")
    status, printed = run("draw", tmp_path / "graph.dg", "-o", tmp_path / "a.png", "--kind", kind, "--json")
    assert (status, json.loads(printed)["kind"]) == (0, kind)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_draw_takes_a_saved_module(tmp_path: Path) -> None:
    model = dg.MaskedDeepFFN(4, 2, [3], density=0.5, seed=0)
    dg.save(model, tmp_path / "model.dg")
    status, printed = run("draw", tmp_path / "model.dg", "-o", tmp_path / "a.pdf", "--json")
    assert (status, json.loads(printed)["edges"]) == (0, model.num_edges)
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


# -- train -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with IDX files of 60 and 20 images of 4 x 4, whose class says which half is bright."""
    folder = tmp_path_factory.mktemp("images")
    for name, count in (("train", 60), ("t10k", 20)):
        labels = bytes(k % 2 for k in range(count))
        pixels = b"".join(bytes([200 * k] * 8 + [200 - 200 * k] * 8) for k in labels)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 4, 4) + pixels)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels)
    return folder


@pytest.mark.parametrize("rewirer", ["static", "set", "rigl", "snfs", "deepr", "cht"])
def test_train_writes_checkpoint_and_history(images: Path, tmp_path: Path, rewirer: str) -> None:
    arguments = ["--data", images, "--hidden", 15, 10, "--density", 0.4, "--every", 4, "--batch", 10, "--lr", 0.02]
    status, text = run("train", *arguments, "--rewirer", rewirer, "--epochs", 4, "--out", tmp_path, "--json")
    assert status == 0
    content = json.loads(text)
    assert (content["ended"], len(content["history"])) == ("finished", 4)
    assert rewirer == "deepr" or (content["dropped"] > 0) == (rewirer != "static")
    found = dg.load(tmp_path / "run.dg")
    assert found["model"].num_edges == content["edges"] == 96 + 60 + 8
    assert json.loads((tmp_path / "history.json").read_text())["rows"][3]["epoch"] == 4
    again = run("train", *arguments, "--rewirer", rewirer, "--epochs", 4, "--out", tmp_path, "--json")[1]
    assert [row["loss"] for row in json.loads(again)["history"]] == [row["loss"] for row in content["history"]]


def test_train_takes_graphs_modules_and_its_own_files(images: Path, tmp_path: Path) -> None:
    dg.save(dg.priors.random_layered([6, 8, 4], 0.5, seed=0), tmp_path / "graph.dg")
    options = ["--data", images, "--epochs", 1, "--every", 2, "--batch", 10, "--out", tmp_path]
    status, text = run("train", "--graph", tmp_path / "graph.dg", *options)
    assert status == 0
    assert text.splitlines()[0].startswith("epoch 1  loss ")
    assert text.splitlines()[-1].startswith("finished: ")
    edges = dg.load(tmp_path / "run.dg")["model"].num_edges
    assert run("train", "--graph", tmp_path / "run.dg", *options)[0] == 0
    assert dg.load(tmp_path / "run.dg")["model"].num_edges == edges


def test_train_says_what_it_cannot_use(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--graph", str(tmp_path / "none.dg"), "--out", str(tmp_path)]) == 2
    assert "--graph: expected a file saved by deepgraph.save" in capsys.readouterr().err
    dg.save({"step": 3}, tmp_path / "other.dg")
    assert main(["train", "--graph", str(tmp_path / "other.dg"), "--out", str(tmp_path)]) == 2
    assert "--graph: expected a saved graph or module, got NoneType" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--lr", "0"])
    assert "expected a number > 0, got '0'" in capsys.readouterr().err


def test_train_keeps_what_there_is_at_ctrl_c(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = dg.fit

    def stopped(*arguments: Any, **options: Any) -> Any:
        history = real(*arguments, **{**options, "epochs": 1})
        history.ended = "interrupted"
        return history

    monkeypatch.setattr(dg, "fit", stopped)
    assert run("train", "--data", images, "--out", tmp_path)[0] == 130
    assert (tmp_path / "run.dg").is_file()


MAKER = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))

def text():
    return "no module"
"""


def test_extract_writes_the_graph_of_a_saved_model(tmp_path: Path) -> None:
    model = dg.MaskedDeepFFN((2, 3), 2, [5], density=0.5, seed=0)
    dg.save({"model": model, "epoch": 3}, tmp_path / "run.dg")
    status, text = run("extract", tmp_path / "run.dg", "-o", tmp_path / "graph.dg")
    graph = dg.load(tmp_path / "graph.dg")
    assert status == 0
    assert sorted(graph.edges) == sorted(model.graph.edges)
    assert f"13 nodes, {graph.number_of_edges()} edges, carries the function" in text
    status, text = run("extract", tmp_path / "run.dg", "--estimate", "--json", "--order", 1)
    assert json.loads(text)["estimate"]["edges"] == graph.number_of_edges()
    dan = dg.MaskedDeepDAN.from_graph(graph)
    dg.save(dan, tmp_path / "dan.dg")
    status, text = run("extract", tmp_path / "dan.dg", "-o", tmp_path / "again.dg", "--json")
    facts = json.loads(text)
    assert facts["exact"]
    assert (facts["nodes"], facts["edges"]) == (13, graph.number_of_edges())
    assert run("analyse", tmp_path / "again.dg", "--json")[0] == 0


def test_extract_loads_other_models_into_what_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    (tmp_path / "my_models.py").write_text(MAKER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    model = importlib.import_module("my_models").make()
    dg.save(model, "alone.dg")
    dg.save({"epoch": 1, "net": model}, "named.dg")
    for file in ("alone.dg", "named.dg"):
        arguments = file, "--model", "my_models:make", "--shape", 1, 4, 4
        assert run("extract", *arguments, "-o", "graph.dg")[0] == 0
        graph = dg.load("graph.dg")
        assert graph.number_of_edges() == 2 * 4 * 9 + 24
        weight = model[3].weight.detach().numpy()
        assert sorted(graph.column("weight")[-24:]) == sorted(weight.T.reshape(-1))
    assert run("extract", *arguments, "--order", 2, "-o", "calls.dg", "--json")[0] == 0
    assert run("extract", *arguments, "--density", 0.5, "-o", "half.dg")[0] == 0
    assert torch.is_tensor(next(model.parameters()))
    for extra, message in (
        (("alone.dg", "--estimate"), "expected one module of deepgraph in 'alone.dg', got 0; pass --model"),
        (
            ("alone.dg", "--estimate", "--model", "my_models:make"),
            "expected --shape, the shape of one input of the Seq",
        ),
        (("alone.dg", "--model", "nowhere:make", "--estimate"), "--model: expected MODULE:MAKER, as in models:make"),
        (
            ("alone.dg", "--model", "my_models:text", "--estimate"),
            "expected a function that returns an nn.Module, got str",
        ),
        (("alone.dg",), "expected -o FILE, where the graph goes, or --estimate"),
        ((*arguments, "-o", "x.dg", "--max-edges", 10), "expected at most max_edges=10 edges"),
    ):
        assert run("extract", *extra)[0] == 2
        assert message in capsys.readouterr().err
