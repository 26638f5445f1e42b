"""`deepgraph demo`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from deepgraph.cli.arguments import add_command, integer
from deepgraph.cli.files import images, writable_folder
from deepgraph.cli.output import print_json, say, silent

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    demo = add_command(commands, "demo", run, "build, train, extract, analyse and draw sparse networks on real images")
    demo.add_argument("--seed", type=integer(0), default=0, metavar="N", help="same seed, same accuracies (default 0)")
    demo.add_argument("--data", type=Path, metavar="DIR", help="folder with IDX files instead of the bundled sample")
    demo.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="where pictures and demo.json go (default out)"
    )
    demo.add_argument("--epochs", type=integer(1), metavar="N", help="passes over the training images")
    demo.add_argument("--quick", action="store_true", help="small networks and few images: seconds, and no meaning")
    demo.add_argument("--json", action="store_true", help="print all numbers as JSON and nothing else")


def run(options: argparse.Namespace) -> int:
    """Run the demo; what it did so far stays in the folder when it is interrupted."""
    out = writable_folder(options.out)
    split = images(options.data)
    try:
        from deepgraph.demo.result import Result
        from deepgraph.demo.run import run_demo
        from deepgraph.demo.settings import FULL, QUICK
    except KeyboardInterrupt:
        raise KeyboardInterrupt("before anything was done") from None
    settings = (QUICK if options.quick else FULL).with_epochs(options.epochs)
    result = Result(settings, options.seed, split)
    try:
        run_demo(result, out, silent if options.json else say, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        result.save(out)
        kept = f"results so far ({len(result.runs)} methods): {out / 'demo.json'}"
        raise KeyboardInterrupt(f"while {result.doing}; {kept}") from None
    if options.json:
        print_json(result.to_dict())
    if not result.passed:
        print("deepgraph demo: error: an extracted graph is not the one it was extracted from", file=sys.stderr)
    return 0 if result.passed else 1
