"""Training by edge edits: optimizers that wrap one and drop and grow edges."""

from __future__ import annotations

from deepgraph.rewire.cht import CHT, CHTs, link_scores
from deepgraph.rewire.deepr import DEEPR
from deepgraph.rewire.edit_log import EditLog
from deepgraph.rewire.gmp import GMP
from deepgraph.rewire.growth import GradientGrowth, Growth, RandomGrowth, ScoredGrowth
from deepgraph.rewire.replay import Replay, exploration
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.rewire.rigl import RigL
from deepgraph.rewire.schedule import drop_share
from deepgraph.rewire.set import SET
from deepgraph.rewire.snfs import SNFS
from deepgraph.rewire.soft_deepr import SoftDEEPR
from deepgraph.rewire.static import Static

__all__ = [
    "CHT",
    "DEEPR",
    "GMP",
    "SET",
    "SNFS",
    "CHTs",
    "EditLog",
    "GradientGrowth",
    "Growth",
    "RandomGrowth",
    "Replay",
    "Rewirer",
    "RigL",
    "ScoredGrowth",
    "SoftDEEPR",
    "Static",
    "drop_share",
    "exploration",
    "link_scores",
]
