"""Saving and loading: graphs, modules, optimizers, rewirers, schedules, random state, tensors and plain data."""

from deepgraph.checkpoint.save_load import load, save
from deepgraph.checkpoint.values import RngState, rng_state

__all__ = ["RngState", "load", "rng_state", "save"]
