"""The command `deepgraph`: demo, benchmark, train, extract, analyse, draw.

Exit status: 0 when all is well, 1 when a check or the machine failed, 2 for arguments that cannot be used, 130 after
Ctrl-C. Errors are one line on standard error; with `--json` standard output holds JSON and nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import deepgraph
from deepgraph.errors import ArgumentError, DeepGraphError

__all__ = ["main"]

REWIRERS = {"static": "Static", "set": "SET", "rigl": "RigL", "snfs": "SNFS", "deepr": "DEEPR", "cht": "CHT"}


_FILE = "a graph, model or run of deepgraph.save, or a .graphml, .json, .edgelist, .txt or .safetensors file"
_PICTURES = ("layers", "blocks", "spy", "degrees", "inputs", "history", "lifetimes", "report")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {_one_line(message)}; {self.prog} --help shows what there is\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status of one call of the command; `arguments` default to those of the process.

    Examples
    --------
    >>> main(["--version"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    SystemExit: 0
    """
    options = _parser().parse_args(arguments)
    program = f"deepgraph {options.command}"
    try:
        return int(options.run(options))
    except KeyboardInterrupt as interrupt:
        print(f"{program}: interrupted{''.join(f' {part}' for part in interrupt.args)}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone; Python would complain about it once more while closing standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DeepGraphError as error:
        print(f"{program}: error: {_one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{program}: error: {_one_line(str(error))}", file=sys.stderr)
        return 1


def _one_line(message: str) -> str:
    return " ".join(message.split())


# -- arguments ---------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="deepgraph", description="A neural network is a graph you can edit.")
    parser.add_argument("--version", action="version", version=f"deepgraph {deepgraph.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_demo(commands)
    _add_benchmark(commands)
    _add_train(commands)
    _add_extract(commands)
    _add_analyse(commands)
    _add_draw(commands)
    return parser


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def _add_demo(commands: Any) -> None:
    demo = _command(commands, "demo", _demo, "build, train, extract, analyse and draw sparse networks on real images")
    demo.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="same seed, same accuracies (default 0)")
    demo.add_argument("--data", type=Path, metavar="DIR", help="folder with IDX files instead of the bundled sample")
    demo.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="where pictures and demo.json go (default out)"
    )
    demo.add_argument("--epochs", type=_integer(1), metavar="N", help="passes over the training images")
    demo.add_argument("--quick", action="store_true", help="small networks and few images: seconds, and no meaning")
    demo.add_argument("--json", action="store_true", help="print all numbers as JSON and nothing else")


def _add_benchmark(commands: Any) -> None:
    text = "time training steps against dense and the installed peers, and a graph of 10,000 layers"
    benchmark = _command(commands, "benchmark", _benchmark, text)
    benchmark.add_argument("--densities", type=_density, nargs="+", metavar="D", help="shares of pairs, in (0, 1]")
    benchmark.add_argument("--threads", type=_integer(1), default=1, metavar="N", help="threads (default 1)")
    benchmark.add_argument("--quick", action="store_true", help="a small network, few rounds, a chain of 500 layers")
    benchmark.add_argument("--no-peers", action="store_true", help="leave other packages out, also installed ones")
    benchmark.add_argument(
        "--calibrate", type=Path, metavar="FILE", help="measure only where dense overtakes sparse, and write it there"
    )
    benchmark.add_argument("--json", action="store_true", help="print all numbers as JSON and nothing else")


def _add_train(commands: Any) -> None:
    text = "train a sparse network on images; write its checkpoint and its history"
    train = _command(commands, "train", _train, text)
    what = train.add_mutually_exclusive_group()
    what.add_argument("--graph", type=Path, metavar="FILE", help="a saved graph as structure, or a saved module")
    what.add_argument(
        "--hidden", type=_integer(1), nargs="*", default=[300, 100], metavar="N", help="neurons of layers"
    )
    train.add_argument("--data", type=Path, metavar="DIR", help="folder with IDX files instead of the bundled sample")
    train.add_argument("--density", type=_density, default=0.1, metavar="D", help="share of pairs (default 0.1)")
    train.add_argument("--rewirer", choices=REWIRERS, default="rigl", help="how edges change (default rigl)")
    train.add_argument("--every", type=_integer(1), default=100, metavar="N", help="steps between edits (default 100)")
    train.add_argument("--epochs", type=_integer(1), default=5, metavar="N", help="passes over the images (default 5)")
    train.add_argument("--batch", type=_integer(1), default=100, metavar="N", help="images of a step (default 100)")
    train.add_argument("--lr", type=_rate, default=1e-3, metavar="X", help="learning rate of Adam (default 0.001)")
    train.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="same seed, same network (default 0)")
    train.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="where run.dg and history.json go (default out)"
    )
    train.add_argument("--json", action="store_true", help="print the history as JSON and nothing else")


def _add_extract(commands: Any) -> None:
    extract = _command(commands, "extract", _extract, "write the graph of a model saved by deepgraph.save")
    extract.add_argument("file", type=Path, help="a saved module, or several objects with one module among them")
    extract.add_argument("-o", "--out", type=Path, metavar="FILE", help="the graph, for deepgraph.load, analyse, draw")
    extract.add_argument(
        "--model", metavar="MODULE:MAKER", help="function that makes the module, if it is none of deepgraph's"
    )
    extract.add_argument("--shape", type=_integer(1), nargs="+", metavar="N", help="shape of one input of the model")
    extract.add_argument(
        "--order", type=int, choices=(0, 1, 2), default=0, help="a node is a neuron (default), a channel, a module call"
    )
    extract.add_argument("--threshold", type=float, default=0.0, metavar="W", help="cut weights up to this size")
    extract.add_argument("--density", type=_density, metavar="D", help="keep this share of each weight, in (0, 1]")
    extract.add_argument("--max-edges", type=_integer(1), default=20_000_000, metavar="N", help="refuse beyond")
    extract.add_argument("--estimate", action="store_true", help="print the size that the graph would have, and stop")
    extract.add_argument("--json", action="store_true", help="print path, size and exactness as JSON and nothing else")


def _add_analyse(commands: Any) -> None:
    analyse = _command(commands, "analyse", _analyse, "print the report on the graph in a file")
    analyse.add_argument("file", type=Path, help=_FILE)
    analyse.add_argument("--nulls", type=_integer(0), default=0, metavar="N", help="random graphs of each null model")
    analyse.add_argument(
        "--measures", nargs="+", metavar="NAME", help="only these, such as gini_fan_in sigma_er (default all)"
    )
    analyse.add_argument(
        "--workers", type=_integer(0), default=0, metavar="N", help="processes for the random graphs (default none)"
    )
    analyse.add_argument(
        "--seed", type=_integer(0), default=0, metavar="N", help="of samples and random graphs (default 0)"
    )
    analyse.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")


def _add_draw(commands: Any) -> None:
    draw = _command(commands, "draw", _draw, "draw the graph in a file")
    draw.add_argument("file", type=Path, help=_FILE)
    draw.add_argument("--kind", choices=_PICTURES, default="layers", help="what is drawn (default layers)")
    draw.add_argument("-o", "--out", type=Path, required=True, metavar="PNG", help="the picture, .png, .pdf or .svg")
    draw.add_argument("--json", action="store_true", help="print path, nodes and edges as JSON and nothing else")


def _integer(least: int) -> Any:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text!r}")
        return value

    return read


def _density(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share of pairs in (0, 1], got {text!r}")
    return value


def _rate(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number > 0, got {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


# -- commands ----------------------------------------------------------------------------------------------------------


def _demo(options: argparse.Namespace) -> int:
    """Run the demo; what it did so far stays in the folder when it is interrupted."""
    out = _writable_folder(options.out)
    split = _data(options.data)
    try:
        from deepgraph.demo.result import Result
        from deepgraph.demo.run import run_demo
        from deepgraph.demo.settings import FULL, QUICK
    except KeyboardInterrupt:
        raise KeyboardInterrupt("before anything was done") from None
    settings = (QUICK if options.quick else FULL).with_epochs(options.epochs)
    result = Result(settings, options.seed, split)
    say = _silent if options.json else _say
    try:
        run_demo(result, out, say, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        result.save(out)
        kept = f"results so far ({len(result.runs)} methods): {out / 'demo.json'}"
        raise KeyboardInterrupt(f"while {result.doing}; {kept}") from None
    if options.json:
        _print_json(result.to_dict())
    if not result.passed:
        print("deepgraph demo: error: an extracted graph is not the one it was extracted from", file=sys.stderr)
    return 0 if result.passed else 1


def _benchmark(options: argparse.Namespace) -> int:
    from deepgraph.demo.benchmark import DENSITIES, measure_chain, measure_densities
    from deepgraph.demo.peers import installed_peers

    if options.calibrate is not None:
        return _calibrate(options)
    densities = tuple(dict.fromkeys(options.densities or DENSITIES))
    small: dict[str, Any] = {"sizes": (784, 100, 100, 10), "rounds": 3} if options.quick else {}
    peers, missing = ([], {}) if options.no_peers else installed_peers()
    table = measure_densities(densities, num_threads=options.threads, peers=peers, left_out=missing, **small)
    if not options.json:
        _say(f"{table}\n")
    rounds = {"num_nodes": 500, "rounds": 3} if options.quick else {}
    chain = measure_chain(num_threads=options.threads, **rounds)
    if options.json:
        from deepgraph.demo.result import machine

        _print_json({"densities": table.to_dict(), "chain": chain.to_dict(), "machine": machine()})
    else:
        _say(str(chain))
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    """Measure where dense overtakes sparse, write it to a file, and print what plans will go by."""
    from deepgraph.demo.calibration import calibrate

    table = calibrate(options.calibrate, num_threads=options.threads, rounds=3 if options.quick else 7)
    if options.json:
        _print_json({"file": str(options.calibrate), "csr_up_to": table.to_dict()})
    else:
        found = ", ".join(f"{name} {100 * value:.0f} %" for name, value in table.to_dict().items())
        _say(f"{options.calibrate}: edge values are used up to these densities: {found}")
        _say(f"deepgraph.use_calibration({str(options.calibrate)!r}) makes plans go by it")
    return 0


def _train(options: argparse.Namespace) -> int:
    """Train, and write what there is, also after Ctrl-C; the status is then 130."""
    out = _writable_folder(options.out)
    split = _data(options.data)

    x, y, x_test, y_test = split.tensors()
    mean, deviation = x.mean(), x.std()
    x, x_test = ((images - mean) / deviation for images in (x.flatten(1), x_test.flatten(1)))
    model = _model(options, x.shape[1], len(split.train.classes))
    steps = options.epochs * -(-len(x) // options.batch)
    optimizer = _rewirer(options, model, max(1, 3 * steps // 4))
    history = deepgraph.fit(
        model, (x, y), optimizer=optimizer, epochs=options.epochs, validation=(x_test, y_test),
        batch_size=options.batch, progress=sys.stderr.isatty(), seed=options.seed,
    )  # fmt: skip
    run = {"model": model, "optimizer": optimizer, "rng": deepgraph.rng_state()}
    deepgraph.save(run, out / "run.dg")
    history.save(out / "history.json")
    edits = {name: sum(row[name] for row in optimizer.log) for name in ("dropped", "grown")}
    facts = {"ended": history.ended, "edges": model.num_edges, "density": model.density, **edits}
    if options.json:
        _print_json({**facts, "history": history.rows, "files": [str(out / "run.dg"), str(out / "history.json")]})
    else:
        for row in history.rows:
            _say("  ".join(f"{name} {value:.4g}" for name, value in row.items()))
        _say(f"{history.ended}: {model.num_edges:,} edges, {edits['dropped']:,} dropped; {out / 'run.dg'}")
    if history.ended == "interrupted":
        raise KeyboardInterrupt(f"after {len(history)} epochs; what there is: {out / 'run.dg'}")
    return 0 if history.ended == "finished" else 1


def _model(options: argparse.Namespace, inputs: int, classes: int) -> Any:
    """Return the module to train: a saved one, one around a saved graph, or a new layered one."""
    import torch

    if options.graph is None:
        return deepgraph.MaskedDeepFFN(inputs, classes, options.hidden, density=options.density, seed=options.seed)
    if not options.graph.is_file():
        raise ArgumentError(f"--graph: expected a file saved by deepgraph.save, got {str(options.graph)!r}, no file")
    found = deepgraph.load(options.graph)
    if isinstance(found, dict):
        found = found.get("model")
    if isinstance(found, torch.nn.Module):
        return found
    if not hasattr(found, "edge_arrays"):
        raise ArgumentError(f"--graph: expected a saved graph or module, got {type(found).__name__}")
    return deepgraph.MaskedDeepDAN(inputs, classes, found, seed=options.seed)


def _rewirer(options: argparse.Namespace, model: Any, until: int) -> Any:
    """Return the optimizer; edits end after three quarters of the steps."""
    import torch

    if options.rewirer == "deepr":
        return deepgraph.DEEPR(model, lr=options.lr, seed=options.seed)
    kind = getattr(deepgraph, REWIRERS[options.rewirer])
    adam = torch.optim.Adam(model.parameters(), lr=options.lr)
    if options.rewirer == "static":
        return kind(model, adam, seed=options.seed)
    return kind(model, adam, every=options.every, until=until, seed=options.seed)


def _extract(options: argparse.Namespace) -> int:
    """Write a graph, or say how large it would be."""
    if options.out is None and not options.estimate:
        raise ArgumentError("expected -o FILE, where the graph goes, or --estimate")
    import torch

    model = _saved_module(options.file, options.model)
    shape = options.shape or _input_size(model, options.file)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    x = torch.zeros(1, *shape, dtype=dtype)
    cuts = {"order": options.order, "threshold": options.threshold, "density": options.density}
    size = deepgraph.estimate(model, x, **cuts)
    facts: dict[str, Any] = {
        "order": size.order,
        "estimate": {k: getattr(size, k) for k in ("nodes", "edges", "bytes")},
    }
    text = str(size)
    if not options.estimate:
        graph = deepgraph.extract(model, x, max_edges=options.max_edges, **cuts)
        deepgraph.save(graph, options.out)
        exact = bool(graph.graph["exact"])
        facts |= {"graph": str(options.out), "nodes": len(graph), "edges": graph.number_of_edges(), "exact": exact}
        facts["inexact"] = list(graph.graph.get("inexact", ["a node stands for a module call"]))
        carries = "carries the function" if exact else f"structure only: {'; '.join(facts['inexact'])}"
        text = f"{options.out}: {len(graph):,} nodes, {graph.number_of_edges():,} edges, {carries}"
    if options.json:
        _print_json(facts)
    else:
        _say(text)
    return 0


def _analyse(options: argparse.Namespace) -> int:
    from deepgraph.analysis import analyse

    bar = sys.stderr.isatty()
    graph = _saved_graph(options.file)
    report = analyse(graph, options.nulls, options.seed, options.measures, progress=bar, workers=options.workers)
    _say(report.to_json() if options.json else str(report))
    return 0


def _draw(options: argparse.Namespace) -> int:
    if options.out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ArgumentError(f"-o: expected a file that ends in .png, .pdf or .svg, got {str(options.out)!r}")
    graph = _saved_graph(options.file)
    path = _picture(graph, options.kind, options.out)
    facts = {"picture": str(path), "kind": options.kind, "nodes": len(graph), "edges": graph.number_of_edges()}
    if options.json:
        _print_json(facts)
    else:
        _say(f"{path}: {facts['nodes']:,} nodes, {facts['edges']:,} edges")
    return 0


def _picture(graph: Any, kind: str, path: Path) -> Path:
    """Return `path` after a picture of one kind was saved there."""
    from deepgraph import plotting
    from deepgraph.demo.pictures import save_figure, save_picture

    if kind == "report":
        return save_figure(path, (9.0, 9.5), lambda figure: plotting.report_figure(graph, figure=figure))
    paint: dict[str, Any] = {
        "layers": plotting.draw,
        "blocks": lambda graph, ax: plotting.draw(graph, ax, layout="blocks"),
        "spy": plotting.spy,
        "degrees": plotting.degree_distribution,
        "inputs": lambda graph, ax: plotting.input_heatmap(graph, _pixels(len(graph.input_positions())), ax=ax),
        "history": plotting.edit_history,
        "lifetimes": plotting.edge_lifetimes,
    }
    size = (9.0, 5.2) if kind in ("layers", "blocks") else (6.4, 5.2)
    return save_picture(path, size, lambda ax: paint[kind](graph, ax))


def _pixels(inputs: int) -> tuple[int, int]:
    """Return the shape of the picture that so many inputs are: a square where they are one, else a row."""
    side = math.isqrt(inputs)
    return (side, side) if side * side == inputs else (1, inputs)


# -- files and output --------------------------------------------------------------------------------------------------


def _data(folder: Path | None) -> Any:
    """Return the bundled sample, or the sets in a folder of IDX files."""
    from deepgraph.dataset import fashion_mnist_sample, read_idx_folder

    return fashion_mnist_sample() if folder is None else read_idx_folder(folder)


def _writable_folder(folder: Path) -> Path:
    """Return the folder, made if it is missing; ArgumentError if nothing can be written there."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise ArgumentError(f"--out: expected a folder that can be written, got {str(folder)!r} ({reason})") from error
    return folder


def _saved_graph(path: Path) -> Any:
    """Return the graph in a file; ArgumentError if there is no file, or no graph in it, or more than one."""
    if not path.is_file():
        raise ArgumentError(f"expected a file saved by deepgraph.save, got {str(path)!r}, which is not a file")
    if path.suffix.lower() in (".graphml", ".json", ".edgelist", ".txt", ".safetensors"):
        return deepgraph.CachedLayeredGraph.load(path)
    loaded = deepgraph.load(path)
    parts = loaded if isinstance(loaded, dict) else {"": loaded}
    graphs = {
        name: part if hasattr(part, "edge_arrays") else getattr(part, "graph", None) for name, part in parts.items()
    }
    found = {name: graph for name, graph in graphs.items() if hasattr(graph, "edge_arrays")}
    if len(found) != 1:
        held = ", ".join(
            f"{name}: {type(part).__name__}" if name else type(part).__name__ for name, part in parts.items()
        )
        raise ArgumentError(
            f"{path}: expected a file with one graph, or one model with a graph, got {len(found)} ({held}); "
            "save the one to look at with deepgraph.save(model.graph, path)"
        )
    return next(iter(found.values()))


def _saved_module(path: Path, maker: str | None) -> Any:
    """Return the module in a file of `deepgraph.save`, loaded into a new one from `maker` where one is given."""
    from torch import nn

    if not path.is_file():
        raise ArgumentError(f"expected a file saved by deepgraph.save, got {str(path)!r}, which is not a file")
    loaded = deepgraph.load(path)
    single = not isinstance(loaded, dict) or not any(isinstance(value, (nn.Module, dict)) for value in loaded.values())
    if maker is not None:
        model = _make(maker)
        names = [] if single else [k for k, value in loaded.items() if isinstance(value, dict)]
        deepgraph.load(path, into=model if single else dict.fromkeys(names[:1], model))
        return model
    modules = [value for value in ([loaded] if single else loaded.values()) if isinstance(value, nn.Module)]
    if len(modules) != 1:
        raise ArgumentError(
            f"expected one module of deepgraph in {str(path)!r}, got {len(modules)}; pass --model MODULE:MAKER, which "
            "makes the module that the file is loaded into"
        )
    return modules[0]


def _make(maker: str) -> Any:
    """Return the module that the function of "module:function" makes."""
    from torch import nn

    name, colon, function = maker.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        model = getattr(importlib.import_module(name), function)()
    except (ImportError, AttributeError) as error:
        raise ArgumentError(f"--model: expected MODULE:MAKER, as in models:make, got {maker!r} ({error})") from error
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(model, nn.Module) or not colon:
        raise ArgumentError(f"--model: expected a function that returns an nn.Module, got {type(model).__name__}")
    return model


def _input_size(model: Any, path: Path) -> list[int]:
    """Return how many inputs a module of deepgraph has; ArgumentError for others."""
    config = model.config() if hasattr(model, "config") else {}
    if "size_input" in config:
        return [int(config["size_input"])]
    if hasattr(model, "graph"):
        return [len(model.graph.input_positions())]
    raise ArgumentError(f"expected --shape, the shape of one input of the {type(model).__name__} in {str(path)!r}")


def _say(text: str) -> None:
    print(text, flush=True)


def _silent(text: str) -> None:
    """Print nothing."""


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, allow_nan=False), flush=True)
