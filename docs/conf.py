"""Settings of the documentation: Sphinx with myst, numpydoc and a gallery made from examples/plot_*.py."""

from __future__ import annotations

from importlib.metadata import version as installed_version

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
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"^(?!.*/plot_)",
    "download_all_examples": False,
    "write_computation_times": False,
    "remove_config_comments": True,
}
