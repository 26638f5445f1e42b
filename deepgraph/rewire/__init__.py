"""Training by edge edits: optimizers that wrap one and drop and grow edges."""

from __future__ import annotations

from deepgraph.rewire.deepr import DEEPR
from deepgraph.rewire.edit_log import EditLog
from deepgraph.rewire.growth import GradientGrowth, Growth, RandomGrowth, ScoredGrowth
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.rewire.rigl import RigL
from deepgraph.rewire.schedule import drop_share
from deepgraph.rewire.set import SET
from deepgraph.rewire.static import Static

__all__ = [
    "DEEPR",
    "SET",
    "EditLog",
    "GradientGrowth",
    "Growth",
    "RandomGrowth",
    "Rewirer",
    "RigL",
    "ScoredGrowth",
    "Static",
    "drop_share",
]
