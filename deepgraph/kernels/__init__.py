"""Kernels: compute all neurons of a graph and their gradients, on arrays and tensors only."""

from deepgraph.kernels.activations import register_activation

__all__ = ["register_activation"]
