"""What the commands print."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["one_line", "print_json", "say", "silent"]


def one_line(message: str) -> str:
    """Return the message with its lines joined.

    Examples
    --------
    >>> one_line("expected 1,\\n  got 2")
    'expected 1, got 2'
    """
    return " ".join(message.split())


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def silent(text: str) -> None:
    """Print nothing."""


def print_json(content: Any) -> None:
    """Print content as JSON that every reader takes: no NaN."""
    print(json.dumps(content, indent=2, allow_nan=False), flush=True)
