"""Settings of the documentation: Sphinx with myst, numpydoc and a gallery made from examples/plot_*.py."""

from __future__ import annotations

import re
from importlib.metadata import version as installed_version
from typing import Any

project = "deepgraph"
author = "The deepgraph authors"
project_copyright = "The deepgraph authors"
release = installed_version("deepgraph-nn")
version = release

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]

exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
html_theme = "alabaster"
html_theme_options = {"description": "A neural network is a graph you can edit", "fixed_sidebar": True}

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"(?:^|/)plot_",
    # Of the name alone in some versions of sphinx-gallery, of the path in others.
    "ignore_pattern": r"^(?!(?:.*/)?plot_[^/]*$)",
    "download_all_examples": False,
    "write_computation_times": False,
    "remove_config_comments": True,
}

# Docstrings are written to be read in a terminal: |w| is an absolute value there and *kernel some more arguments.
_MARKS = re.compile(r"(``[^`]+``|`[^`]+`)|\|(?=\w[^|]*\|)|(?<=\w)\||(?<![\w*])\*(?=\w[\w.]*(?![\w.*]))|\b(\w+)_(?!\w)")


def _escape(match: re.Match[str]) -> str:
    text = match.group(0)
    if match.group(1):
        return text
    return text[:-1] + r"\_" if match.group(2) else "\\" + text


def keep_marks(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape what Sphinx would read as markup in our own docstrings, outside code and doctests."""
    if not str(getattr(obj, "__module__", "deepgraph")).startswith("deepgraph"):
        return
    lines[:] = [
        line if line.lstrip().startswith((">>>", "...", ".. ")) else _MARKS.sub(_escape, line) for line in lines
    ]


def setup(app: Any) -> None:
    """Let Sphinx pass every docstring through `keep_marks`, before numpydoc reads it."""
    app.connect("autodoc-process-docstring", keep_marks, priority=100)
