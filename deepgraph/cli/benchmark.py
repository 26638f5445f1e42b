"""`deepgraph benchmark`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from deepgraph.cli.arguments import add_command, density, integer
from deepgraph.cli.output import print_json, say

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    text = "time training steps against dense and the installed peers, and a graph of 10,000 layers"
    benchmark = add_command(commands, "benchmark", run, text)
    benchmark.add_argument("--densities", type=density, nargs="+", metavar="D", help="shares of pairs, in (0, 1]")
    benchmark.add_argument("--threads", type=integer(1), default=1, metavar="N", help="threads (default 1)")
    benchmark.add_argument("--quick", action="store_true", help="a small network, few rounds, a chain of 500 layers")
    benchmark.add_argument("--no-peers", action="store_true", help="leave other packages out, also installed ones")
    benchmark.add_argument(
        "--calibrate", type=Path, metavar="FILE", help="measure only where dense overtakes sparse, and write it there"
    )
    benchmark.add_argument("--json", action="store_true", help="print all numbers as JSON and nothing else")


def run(options: argparse.Namespace) -> int:
    """Measure, print, and return the exit status."""
    from deepgraph.demo.benchmark import DENSITIES, measure_chain, measure_densities
    from deepgraph.demo.peers import installed_peers

    if options.calibrate is not None:
        return _calibrate(options)
    densities = tuple(dict.fromkeys(options.densities or DENSITIES))
    small: dict[str, Any] = {"sizes": (784, 100, 100, 10), "rounds": 3} if options.quick else {}
    peers, missing = ([], {}) if options.no_peers else installed_peers()
    table = measure_densities(densities, num_threads=options.threads, peers=peers, left_out=missing, **small)
    if not options.json:
        say(f"{table}\n")
    rounds = {"num_nodes": 500, "rounds": 3} if options.quick else {}
    chain = measure_chain(num_threads=options.threads, **rounds)
    if options.json:
        from deepgraph.demo.result import machine

        print_json({"densities": table.to_dict(), "chain": chain.to_dict(), "machine": machine()})
    else:
        say(str(chain))
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    """Measure where dense overtakes sparse, write it to a file, and print what plans will go by."""
    from deepgraph.demo.calibration import calibrate

    table = calibrate(options.calibrate, num_threads=options.threads, rounds=3 if options.quick else 7)
    if options.json:
        print_json({"file": str(options.calibrate), "csr_up_to": table.to_dict()})
    else:
        found = ", ".join(f"{name} {100 * value:.0f} %" for name, value in table.to_dict().items())
        say(f"{options.calibrate}: edge values are used up to these densities: {found}")
        say(f"deepgraph.use_calibration({str(options.calibrate)!r}) makes plans go by it")
    return 0
