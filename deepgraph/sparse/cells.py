"""Cells: what a node and an edge are in a network of channel groups. `MaskedDeepDAN.from_graph(g, cell=...)` takes one.

A node holds `width` channels of some size; an edge holds a kernel that maps the channels of its source to a message
for its target. A cell of one's own says the shape of a kernel and how a message is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deepgraph.errors import ArgumentError, FileFormatError, UnsupportedOperationError
from deepgraph.kernels.convolution import images_at_once

__all__ = ["Cell", "Conv1d", "Conv2d", "Linear", "cell_from_config"]

_PAIR_ELEMENTS = 4_000_000


class Cell(ABC):
    """What a node and an edge are.

    Parameters
    ----------
    width : int
        Channels of a node, W.

    Attributes
    ----------
    dimensions : int
        Sizes behind the channels, for all nodes the same: 0 for vectors, 2 for images. A network of N inputs takes
        x (B, N * W, *size).

    Examples
    --------
    An edge that scales each channel of a sequence:

    >>> class Scale(Cell):
    ...     dimensions = 1
    ...     @property
    ...     def kernel_shape(self):
    ...         return (self.width,)
    ...     def message(self, inputs, kernels):
    ...         return inputs * kernels[..., None]
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepDAN.from_graph(dg.priors.random_layered([2, 3, 1], 1.0, seed=0), cell=Scale(4), seed=0)
    >>> model(torch.ones(5, 8, 10)).shape
    torch.Size([5, 4, 10])
    """

    dimensions: ClassVar[int] = 0

    def __init__(self, width: int = 1) -> None:
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise ArgumentError(f"width: expected a number of channels from 1, got {width!r}")
        self.width = width

    @property
    @abstractmethod
    def kernel_shape(self) -> tuple[int, ...]:
        """Shape of the kernel of one edge."""

    @abstractmethod
    def message(self, inputs: Tensor, kernels: Tensor) -> Tensor:
        """Return the messages (B, K, W, *size) of K edges.

        Parameters
        ----------
        inputs : (B, K, W, *size) Tensor
            What the source of each edge put out.
        kernels : (K, *kernel_shape) Tensor
        """

    def combine(self, inputs: Tensor, kernels: Tensor, source: Tensor, target: Tensor, targets: int) -> Tensor:
        """Return the sums (B, T, W, *size) of the messages into T targets; here by `message`, edge by edge.

        Parameters
        ----------
        inputs : (B, S, W, *size) Tensor
            What the sources put out.
        kernels : (K, *kernel_shape) Tensor
        source, target : (K,) Tensor
            Ends of each edge among the S sources and T targets.
        targets : int
            T.
        """
        messages = self.message(inputs.index_select(1, source), kernels)
        total = messages.new_zeros(messages.shape[0], targets, *messages.shape[2:])
        return total.index_add(1, target, messages)

    def pair_norms(self, inputs: Tensor, gradient: Tensor) -> Tensor:
        """Return the norms (S, T) of the gradients of the kernels of all pairs, at kernels of 0.

        Parameters
        ----------
        inputs : (B, S, W, *size) Tensor
        gradient : (B, T, W, *size) Tensor
            Of the sums of the targets.
        """
        sources, targets = inputs.shape[1], gradient.shape[1]
        found = inputs.new_empty(sources * targets)
        step = max(1, _PAIR_ELEMENTS // max(1, inputs[:, 0].numel()))
        for first in range(0, len(found), step):
            pairs = torch.arange(first, min(first + step, len(found)), device=inputs.device)
            with torch.enable_grad():
                kernels = inputs.new_zeros(len(pairs), *self.kernel_shape, requires_grad=True)
                messages = self.message(inputs[:, pairs // targets], kernels)
                wanted = torch.autograd.grad(messages, kernels, gradient[:, pairs % targets])[0]
            found[pairs] = torch.linalg.vector_norm(wanted.flatten(1), dim=1)
        return found.view(sources, targets)

    def config(self) -> dict[str, Any]:
        """Return what `cell_from_config` needs: JSON values.

        Raises
        ------
        UnsupportedOperationError
            For a cell of one's own, whose class no file may name.
        """
        raise UnsupportedOperationError(
            f"cell: expected one of deepgraph.cells for a file that can build the model anew, got {type(self).__name__}"
            "; save model.state_dict(), and load it into a model that from_graph made with your cell"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(width={self.width})"


class _Dense(Cell):
    """A cell whose kernels are blocks (W, W, *kernel) of one dense weight of all targets and sources."""

    def _weight(self, kernels: Tensor, source: Tensor, target: Tensor, targets: int, sources: int) -> Tensor:
        """Return the weight (T W, S W, *kernel), 0 where there is no edge."""
        w, rest = self.width, kernels.shape[3:]
        weight = kernels.new_zeros(targets * sources, *kernels.shape[1:])
        weight = weight.index_copy(0, target * sources + source, kernels)
        blocks = weight.view(targets, sources, w, w, *rest).transpose(1, 2)
        return blocks.reshape(targets * w, sources * w, *rest)


class Linear(_Dense):
    """A node is a group of neurons, an edge a block of weights.

    Parameters
    ----------
    width : int
        Neurons of a group.

    Examples
    --------
    >>> Linear(16).kernel_shape
    (16, 16)
    """

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """(targets, sources) of a block."""
        return (self.width, self.width)

    def message(self, inputs: Tensor, kernels: Tensor) -> Tensor:
        """Return the messages; see `Cell.message`."""
        messages: Tensor = torch.einsum("bku,kvu->bkv", inputs, kernels)
        return messages

    def combine(self, inputs: Tensor, kernels: Tensor, source: Tensor, target: Tensor, targets: int) -> Tensor:
        """Return the sums as one dense product; see `Cell.combine`."""
        weight = self._weight(kernels, source, target, targets, inputs.shape[1])
        return functional.linear(inputs.flatten(1), weight).view(-1, targets, self.width)

    def pair_norms(self, inputs: Tensor, gradient: Tensor) -> Tensor:
        """Return the norms of all pairs from one product; see `Cell.pair_norms`."""
        blocks = torch.einsum("bsu,btv->stuv", inputs, gradient)
        norms: Tensor = torch.linalg.vector_norm(blocks.flatten(2), dim=2)
        return norms

    def config(self) -> dict[str, Any]:
        """Return class and width."""
        return {"class": "Linear", "width": self.width}


class _Convolution(_Dense):
    """What cells of convolutions share: kernels of odd sizes, results as large as the image."""

    def __init__(self, kernel_size: int | tuple[int, ...] = 3, width: int = 1) -> None:
        super().__init__(width)
        sizes = (kernel_size,) * self.dimensions if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(sizes) != self.dimensions or any(isinstance(n, bool) or n < 1 or n % 2 == 0 for n in sizes):
            raise ArgumentError(
                f"kernel_size: expected {self.dimensions} odd numbers from 1, or one for all, so that images keep "
                f"their size, got {kernel_size!r}"
            )
        self.kernel_size = sizes

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """(targets, sources, *kernel_size)."""
        return (self.width, self.width, *self.kernel_size)

    def _convolve(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        padding = [n // 2 for n in self.kernel_size]
        if self.dimensions == 1:
            return functional.conv1d(x, weight, None, 1, padding, 1, groups)
        return functional.conv2d(x, weight, None, 1, padding, 1, groups)

    def message(self, inputs: Tensor, kernels: Tensor) -> Tensor:
        """Return the messages; see `Cell.message`."""
        return self._convolve(inputs.flatten(1, 2), kernels.flatten(0, 1), len(kernels)).view_as(inputs)

    def combine(self, inputs: Tensor, kernels: Tensor, source: Tensor, target: Tensor, targets: int) -> Tensor:
        """Return the sums as one dense convolution; see `Cell.combine`."""
        weight = self._weight(kernels, source, target, targets, inputs.shape[1])
        x = inputs.flatten(1, 2)
        if torch.compiler.is_compiling() or (images := images_at_once(x)) >= len(x):
            y = self._convolve(x, weight)
        else:
            y = torch.cat([self._convolve(part, weight) for part in torch.split(x, images)])
        return y.view(-1, targets, self.width, *y.shape[2:])

    def pair_norms(self, inputs: Tensor, gradient: Tensor) -> Tensor:
        """Return the norms of all pairs from the gradient of one dense convolution; see `Cell.pair_norms`."""
        sources, targets, w = inputs.shape[1], gradient.shape[1], self.width
        with torch.enable_grad():
            weight = inputs.new_zeros(targets * w, sources * w, *self.kernel_size, requires_grad=True)
            y = self._convolve(inputs.flatten(1, 2), weight)
            dense = torch.autograd.grad(y, weight, gradient.flatten(1, 2))[0]
        blocks = dense.view(targets, w, sources, w, -1).permute(2, 0, 1, 3, 4)
        norms: Tensor = torch.linalg.vector_norm(blocks.flatten(2), dim=2)
        return norms

    def config(self) -> dict[str, Any]:
        """Return class, kernel size and width."""
        return {"class": type(self).__name__, "kernel_size": list(self.kernel_size), "width": self.width}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kernel_size}, width={self.width})"


class Conv1d(_Convolution):
    """A node is a group of channels of a sequence, an edge a convolution kernel.

    Parameters
    ----------
    kernel_size : int
        Odd.
    width : int
        Channels of a group.

    Examples
    --------
    >>> Conv1d(5, width=2).kernel_shape
    (2, 2, 5)
    """

    dimensions = 1


class Conv2d(_Convolution):
    """A node is a group of channels of an image, an edge a convolution kernel.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Odd.
    width : int
        Channels of a group.

    Examples
    --------
    >>> Conv2d(3).kernel_shape
    (1, 1, 3, 3)
    """

    dimensions = 2


def cell_from_config(config: dict[str, Any]) -> Cell:
    """Return the cell that `Cell.config` described.

    Raises
    ------
    FileFormatError
        If it is no cell of this file.

    Examples
    --------
    >>> cell_from_config({"class": "Linear", "width": 3})
    Linear(width=3)
    """
    known: dict[str, type[Cell]] = {"Linear": Linear, "Conv1d": Conv1d, "Conv2d": Conv2d}
    options = dict(config)
    name = options.pop("class", None)
    if name not in known:
        raise FileFormatError(f"cell: expected one of {', '.join(known)}, got {name!r}")
    if "kernel_size" in options:
        options["kernel_size"] = tuple(options["kernel_size"])
    return known[name](**options)
