"""The command `deepgraph`: demo, benchmark, train, extract, analyse, draw.

Exit status: 0 when all is well, 1 when a check or the machine failed, 2 for arguments that cannot be used, 130 after
Ctrl-C. Errors are one line on standard error; with `--json` standard output holds JSON and nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import deepgraph
from deepgraph.cli import analyse, benchmark, demo, draw, extract, train
from deepgraph.cli.output import one_line
from deepgraph.errors import DeepGraphError

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)}; {self.prog} --help shows what there is\n")


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
        print(f"{program}: error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{program}: error: {one_line(str(error))}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="deepgraph", description="A neural network is a graph you can edit.")
    parser.add_argument("--version", action="version", version=f"deepgraph {deepgraph.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for command in (demo, benchmark, train, extract, analyse, draw):
        command.add(commands)
    return parser
