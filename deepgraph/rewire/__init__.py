"""Training by edge edits: optimizers that wrap one and drop and grow edges."""

from __future__ import annotations

from deepgraph.rewire.cht import CHT, CHTs, link_scores
from deepgraph.rewire.deepr import DEEPR
from deepgraph.rewire.edit_log import EditLog
from deepgraph.rewire.gmp import GMP
from deepgraph.rewire.granet import GraNet
from deepgraph.rewire.growth import GradientGrowth, Growth, RandomGrowth, ScoredGrowth
from deepgraph.rewire.mest import MEST
from deepgraph.rewire.replay import Replay, exploration
from deepgraph.rewire.rewireable import convert_from_deep_rewireable, convert_to_deep_rewireable, measure_sparsity
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.rewire.rigl import RigL
from deepgraph.rewire.schedule import drop_share
from deepgraph.rewire.set import SET
from deepgraph.rewire.snfs import SNFS
from deepgraph.rewire.soft_deepr import SoftDEEPR
from deepgraph.rewire.srigl import SRigL
from deepgraph.rewire.static import Static
from deepgraph.rewire.theta import SoftDEEPRWrapper

convert = convert_to_deep_rewireable
reconvert = convert_from_deep_rewireable

__all__ = [
    "CHT",
    "DEEPR",
    "GMP",
    "MEST",
    "SET",
    "SNFS",
    "CHTs",
    "EditLog",
    "GraNet",
    "GradientGrowth",
    "Growth",
    "RandomGrowth",
    "Replay",
    "Rewirer",
    "RigL",
    "SRigL",
    "ScoredGrowth",
    "SoftDEEPR",
    "SoftDEEPRWrapper",
    "Static",
    "convert",
    "convert_from_deep_rewireable",
    "convert_to_deep_rewireable",
    "drop_share",
    "exploration",
    "link_scores",
    "measure_sparsity",
    "reconvert",
]
