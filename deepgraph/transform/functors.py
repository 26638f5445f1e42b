"""deepstruct's names for extraction: `GraphTransform`, `LinearLayerFunctor`, `Conv2dLayerFunctor`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.transform.extraction import extract

__all__ = ["Conv2dLayerFunctor", "GraphTransform", "LinearLayerFunctor"]


class GraphTransform:
    """Turns models into graphs with one fixed example input.

    Differs from deepstruct: any model with operations that `extract` knows, masks, residual sums, groups and padding
    included; only the first sample of a batch is looked at; the model is left as it was.

    Parameters
    ----------
    random_input : torch.Tensor
        Example input of the models, samples along dimension 0. Its values do not matter unless a model branches on
        them.
    **options : object
        Of `extract`: threshold, density, order, ...

    Examples
    --------
    >>> import torch
    >>> functor = GraphTransform(torch.randn(1, 5, 5))
    >>> graph = functor.transform(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(25, 2)))
    >>> len(graph), graph.num_layers
    (27, 2)
    """

    def __init__(self, random_input: Tensor, **options: Any) -> None:
        if not isinstance(random_input, Tensor):
            raise DtypeError(f"expected an example input as a tensor, got {type(random_input).__name__}")
        self.random_input = random_input
        self.options = options

    def transform(self, model: nn.Module) -> CachedLayeredGraph:
        """Return the graph of a model.

        Parameters
        ----------
        model : nn.Module
            Takes the example input.

        Raises
        ------
        ArgumentError, TooLargeError, UnsupportedOperationError
            As for `extract`.
        """
        return extract(model, self.random_input, **self.options)


class LinearLayerFunctor:
    """Turns one linear layer into a graph of its inputs and outputs.

    Parameters
    ----------
    threshold : float
        Weights with |w| <= threshold are no edges; 0 or more.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(2, 2)
    >>> layer.weight.data = torch.tensor([[1.0, 0.001], [0.5, 0.2]])
    >>> list(LinearLayerFunctor(threshold=0.01).transform(layer).edges)
    [(0, 2), (0, 3), (1, 3)]
    """

    def __init__(self, threshold: float = 0.01) -> None:
        self.threshold = threshold

    def applies(self, model: nn.Module) -> bool:
        """Return whether a module is one that this functor turns into a graph."""
        return isinstance(model, nn.Linear)

    def transform(self, model: nn.Linear) -> CachedLayeredGraph:
        """Return the graph of a linear layer.

        Parameters
        ----------
        model : nn.Linear
            The layer.

        Raises
        ------
        DtypeError
            If it is another module.
        """
        if not self.applies(model):
            raise DtypeError(f"expected an nn.Linear, got {type(model).__name__}; use GraphTransform(x) for models")
        x = torch.zeros(1, model.in_features, dtype=model.weight.dtype, device=model.weight.device)
        return extract(model, x, threshold=self.threshold)


class Conv2dLayerFunctor:
    """Turns one two-dimensional convolution into a graph of its input and output pixels.

    Parameters
    ----------
    width, height : int
        Size of the images that it reads, 1 or more.
    threshold : float
        Weights with |w| <= threshold are no edges; 0 or more.

    Examples
    --------
    >>> import torch
    >>> len(Conv2dLayerFunctor(4, 3).transform(torch.nn.Conv2d(1, 2, 3, padding=1)))
    36
    """

    def __init__(self, width: int, height: int, threshold: float = 0.01) -> None:
        if width < 1 or height < 1:
            raise ArgumentError(f"expected images of width and height from 1, got {width!r} and {height!r}")
        self.width = width
        self.height = height
        self.threshold = threshold

    def applies(self, model: nn.Module) -> bool:
        """Return whether a module is one that this functor turns into a graph."""
        return isinstance(model, nn.Conv2d)

    def transform(self, model: nn.Conv2d) -> CachedLayeredGraph:
        """Return the graph of a convolution.

        Parameters
        ----------
        model : nn.Conv2d
            The layer.

        Raises
        ------
        DtypeError
            If it is another module.
        """
        if not self.applies(model):
            raise DtypeError(f"expected an nn.Conv2d, got {type(model).__name__}; use GraphTransform(x) for models")
        shape = (1, model.in_channels, self.height, self.width)
        x = torch.zeros(shape, dtype=model.weight.dtype, device=model.weight.device)
        return extract(model, x, threshold=self.threshold)
