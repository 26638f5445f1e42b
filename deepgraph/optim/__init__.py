"""Optimizers that walk all parameters in one compiled loop, and training steps without autograd."""

from deepgraph.optim.fused import SGD, Adam, AdamW
from deepgraph.optim.train_step import TrainStep, train_step

__all__ = ["SGD", "Adam", "AdamW", "TrainStep", "train_step"]
