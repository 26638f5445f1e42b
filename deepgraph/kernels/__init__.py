"""Kernels: compute all neurons of a graph and their gradients, on arrays and tensors only."""
