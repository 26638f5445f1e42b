"""The whole demo: prior, models, training, timing, extraction, report, pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from deepgraph.analysis import analyse
from deepgraph.demo import summary
from deepgraph.demo.checks import extract_and_check
from deepgraph.demo.methods import Method, methods, small_world
from deepgraph.demo.pictures import draw_pictures
from deepgraph.demo.result import Result
from deepgraph.demo.timing import interleave, threads, training_step
from deepgraph.demo.training import Data, Run, train

__all__ = ["run_demo"]

EXTRACTED = ("ffn_rigl", "dan_rigl")


def run_demo(
    result: Result, out: Path, say: Callable[[str], None] = lambda text: None, progress: bool = False
) -> Result:
    """Return `result` with everything filled in; `out/demo.json` holds what there is after every epoch and part.

    All of it runs on one thread unless told: a second one gains little here, and costs much where it has to be shared.

    Parameters
    ----------
    result : Result
        With settings, seed and data; filled in place, so that an interruption loses nothing.
    out : Path
        An existing folder for `demo.json`, `report.txt` and the pictures.
    say : callable
        Takes the text to print, part by part.
    progress : bool
        Whether the report shows its bar; those of training and timing follow the terminal.
    """
    begin = perf_counter()
    with threads(result.threads):
        data = _learn(result, out, say)
        _read_out(result, data, out, say, progress)
    result.doing, result.seconds = "done", perf_counter() - begin
    result.save(out)
    say(summary.files(result, out))
    return result


def _learn(result: Result, out: Path, say: Callable[[str], None]) -> Data:
    """Train every method and measure its steps; return what they were trained on."""
    data = Data.of(result.split, result.settings.images)
    batches = math.ceil(len(data.x) / result.settings.batch)
    rows = methods(data.x.shape[1], data.num_classes, result.settings, batches, result.seed)
    _measure_prior(result)
    say(summary.header(result, data))
    for method in rows:
        _train(result, method, data, out)
    result.doing = "measuring times"
    _measure_times(result, rows, data)
    say(f"\n{summary.results_table(result)}\n\n{summary.notes(result)}\n")
    return data


def _read_out(result: Result, data: Data, out: Path, say: Callable[[str], None], progress: bool) -> None:
    """Extract the graphs that RigL left, check, analyse and draw them."""
    _extract(result, data, say)
    result.save(out)
    result.doing = "analysing the DAN"
    graph = result.extractions["dan_rigl"].graph
    result.report = analyse(graph, nulls=result.settings.nulls, seed=result.seed, progress=progress)
    (out / "report.txt").write_text(f"{result.report}\n", encoding="utf-8")
    say(f"\nReport on the DAN after RigL\n\n{result.report}\n")
    result.save(out)
    result.doing = "drawing"
    graphs = {key: extraction.graph for key, extraction in result.extractions.items()}
    result.pictures = draw_pictures(out, result.runs, graphs, data.shape)


def _train(result: Result, method: Method, data: Data, out: Path) -> None:
    """Train one method; its record is in the result, and in the file, from its first epoch on."""
    result.doing = f"training {method.label}"

    def keep(run: Run) -> None:
        result.runs[method.key] = run
        result.save(out)

    train(method, data, result.settings, result.seed, keep)


def _extract(result: Result, data: Data, say: Callable[[str], None]) -> None:
    """Read the graphs out of the networks that RigL trained, and check them."""
    result.doing = "extracting the graphs"
    for key in EXTRACTED:
        run = result.runs[key]
        result.extractions[key] = extract_and_check(run.sparse_model, data.x_test)
        say(f"{run.method.label}, extracted: {result.extractions[key]}")


def _measure_prior(result: Result) -> None:
    """Note the size of the small world."""
    structure = small_world(result.settings, result.seed)
    result.prior = {
        "kind": "watts_strogatz",
        "neurons": len(structure),
        "edges": structure.number_of_edges(),
        "stages": structure.num_layers,
        "inputs": len(structure.input_positions()),
        "outputs": len(structure.output_positions()),
        "orientation": dict(structure.graph["orientation"]),
    }


def _measure_times(result: Result, rows: list[Method], data: Data) -> None:
    """Measure a step of each method on fresh models, so that nothing that was trained changes."""
    x, y = data.x[: result.settings.batch], data.y[: result.settings.batch]
    steps = {method.key: training_step(*method.build(), x, y) for method in rows}
    steps[f"{result.baseline} again"] = steps[result.baseline]
    result.timings = interleave(steps, rounds=result.settings.rounds, progress="times")
