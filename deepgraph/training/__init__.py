"""A small training loop, what it recorded, and tables of several runs."""

from __future__ import annotations

from deepgraph.training.callbacks import Callback, EarlyStopping, Run
from deepgraph.training.history import History
from deepgraph.training.loop import fit
from deepgraph.training.table import Table, table

__all__ = ["Callback", "EarlyStopping", "History", "Run", "Table", "fit", "table"]
