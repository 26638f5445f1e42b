"""Pruning: criteria x scope x strategy, at once or in rounds; and growing, its opposite: neurons added to a network."""

from __future__ import annotations

from deepgraph.pruning.adaptive import LAMP, Wanda
from deepgraph.pruning.brain_damage import OBD
from deepgraph.pruning.criterion import Criterion, Sample
from deepgraph.pruning.growing import grow
from deepgraph.pruning.magnitude import Magnitude
from deepgraph.pruning.prune import prune
from deepgraph.pruning.randomly import Randomly
from deepgraph.pruning.saliency import (
    prune_layer_by_saliency,
    prune_network_by_saliency,
    set_distributed_saliency,
    set_random_masks,
    set_random_saliency,
)
from deepgraph.pruning.sensitivity import SNIP, Taylor
from deepgraph.pruning.signal import GraSP
from deepgraph.pruning.strategy import PruningStrategy
from deepgraph.pruning.surgeon import OBS
from deepgraph.pruning.synflow import SynFlow
from deepgraph.pruning.walks import PHEW

__all__ = [
    "LAMP",
    "OBD",
    "OBS",
    "PHEW",
    "SNIP",
    "Criterion",
    "GraSP",
    "Magnitude",
    "PruningStrategy",
    "Randomly",
    "Sample",
    "SynFlow",
    "Taylor",
    "Wanda",
    "grow",
    "prune",
    "prune_layer_by_saliency",
    "prune_network_by_saliency",
    "set_distributed_saliency",
    "set_random_masks",
    "set_random_saliency",
]
