"""`deepgraph train`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import deepgraph
from deepgraph.cli.arguments import add_command, density, integer, rate
from deepgraph.cli.files import images, writable_folder
from deepgraph.cli.output import print_json, say
from deepgraph.errors import ArgumentError

__all__ = ["add", "run"]

REWIRERS = {"static": "Static", "set": "SET", "rigl": "RigL", "snfs": "SNFS", "deepr": "DEEPR", "cht": "CHT"}
"""The names of the command, and the classes that they stand for."""


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    text = "train a sparse network on images; write its checkpoint and its history"
    train = add_command(commands, "train", run, text)
    what = train.add_mutually_exclusive_group()
    what.add_argument("--graph", type=Path, metavar="FILE", help="a saved graph as structure, or a saved module")
    what.add_argument("--hidden", type=integer(1), nargs="*", default=[300, 100], metavar="N", help="neurons of layers")
    train.add_argument("--data", type=Path, metavar="DIR", help="folder with IDX files instead of the bundled sample")
    train.add_argument("--density", type=density, default=0.1, metavar="D", help="share of pairs (default 0.1)")
    train.add_argument("--rewirer", choices=REWIRERS, default="rigl", help="how edges change (default rigl)")
    train.add_argument("--every", type=integer(1), default=100, metavar="N", help="steps between edits (default 100)")
    train.add_argument("--epochs", type=integer(1), default=5, metavar="N", help="passes over the images (default 5)")
    train.add_argument("--batch", type=integer(1), default=100, metavar="N", help="images of a step (default 100)")
    train.add_argument("--lr", type=rate, default=1e-3, metavar="X", help="learning rate of Adam (default 0.001)")
    train.add_argument("--seed", type=integer(0), default=0, metavar="N", help="same seed, same network (default 0)")
    train.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="where run.dg and history.json go (default out)"
    )
    train.add_argument("--json", action="store_true", help="print the history as JSON and nothing else")


def run(options: argparse.Namespace) -> int:
    """Train, and write what there is, also after Ctrl-C; the status is then 130."""
    out = writable_folder(options.out)
    split = images(options.data)

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
        print_json({**facts, "history": history.rows, "files": [str(out / "run.dg"), str(out / "history.json")]})
    else:
        for row in history.rows:
            say("  ".join(f"{name} {value:.4g}" for name, value in row.items()))
        say(f"{history.ended}: {model.num_edges:,} edges, {edits['dropped']:,} dropped; {out / 'run.dg'}")
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
