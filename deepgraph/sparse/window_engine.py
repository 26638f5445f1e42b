"""`WindowEngine`: computes one sparse convolution as one operator, and follows its edits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deepgraph.errors import DtypeError, EditRefusedError, ShapeError, UnsupportedOperationError
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit
from deepgraph.kernels.convolution import ConvolutionKernel
from deepgraph.kernels.convolution_operator import convolution_operator
from deepgraph.kernels.convolution_plan import make_convolution_kernel, make_convolution_plan
from deepgraph.kernels.operator import register
from deepgraph.kernels.passes import Passes
from deepgraph.kernels.plan import NOMINAL_BATCH, Plan
from deepgraph.kernels.windows import ConvolutionShape
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.values import EdgeValues

__all__ = ["WindowEngine"]


class WindowEngine(Passes):
    """Runs one convolution over the parameter of its edge layer.

    Parameters
    ----------
    layer : EdgeLayer
        Sources: entries of a window; targets: output channels.
    shape : ConvolutionShape
    automatic : bool
        Whether the storage was chosen by density and shape and not by the user; the plan says which.
    """

    has_factors = False

    def __init__(self, layer: EdgeLayer, shape: ConvolutionShape, automatic: bool) -> None:
        super().__init__()
        self.layer, self.shape, self.automatic = layer, shape, automatic
        self.armed, self.calibration, self.batch = False, "", NOMINAL_BATCH
        self._captured: Tensor | None = None
        self._kernel: ConvolutionKernel | None = None
        self._placed: tuple[torch.device, torch.dtype] | None = None
        self.handle = register(self)  # type: ignore[arg-type]
        layer.edges.owner = self
        layer.edge_set.listen(self)

    def program(self) -> WindowEngine:
        """Return this engine: it is the owner of its handle."""
        return self

    @property
    def plan(self) -> Plan:
        """How the convolution is computed and why."""
        return self.plan_for(self.batch)

    def plan_for(self, batch: int) -> Plan:
        """Return the plan with operations counted for so many places of the result."""
        weight, edges = self.layer.weight, self.layer.edge_set
        return make_convolution_plan(
            edges.name, self.shape, edges.num_edges, self.layer.storage, automatic=self.automatic,
            calibration=self.calibration,
            dtype=str(weight.dtype).removeprefix("torch."), device=str(weight.device),
            batch=batch,
        )  # fmt: skip

    @property
    def kernel(self) -> ConvolutionKernel:
        """The kernel of the present edges, for the device and dtype of the parameter."""
        placed = (self.layer.weight.device, self.layer.weight.dtype)
        if self._kernel is None or self._placed != placed:
            self._kernel = make_convolution_kernel(self.plan, self.shape, *self.layer.edge_set.pairs())
            self._placed = placed
        return self._kernel

    def __call__(self, x: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W)."""
        weight = self.layer.weight
        bias = weight.new_zeros(self.shape.out_channels) if self.layer.bias is None else self.layer.bias
        y: Tensor = convolution_operator(x, weight, bias, self.handle)[0]
        return y

    def check(self, x: Any, dimensions: int) -> None:
        """Raise unless x is a tensor (B, C, *size) of the parameter's dtype and device, with `dimensions` sizes."""
        weight = self.layer.weight
        if not isinstance(x, Tensor):
            raise DtypeError(f"x: expected a torch.Tensor, got {type(x).__name__}")
        if x.dtype != weight.dtype:
            raise DtypeError(
                f"x: expected dtype {weight.dtype} as the model's, got {x.dtype}; convert with x.to({weight.dtype}) or "
                f"the model with model.to({x.dtype})"
            )
        if x.dim() != 2 + dimensions or x.shape[1] != self.shape.in_channels:
            sizes = ", ".join(["batch", str(self.shape.in_channels), "height", "width"][: 2 + dimensions])
            sizes = sizes if dimensions == 2 else f"batch, {self.shape.in_channels}, length"
            raise ShapeError(f"x: expected shape ({sizes}), got {tuple(x.shape)}")
        if x.device != weight.device:
            raise UnsupportedOperationError(f"x: expected device {weight.device} as the model's, got {x.device}")

    # -- following edits --------------------------------------------------------------------------------------------

    def edit_check(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Nothing to refuse here: the layer's values ask whether a backward is pending."""

    def edit_done(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Rebuild the indexes at the next call; a backward of an earlier forward is refused from now on."""
        self._kernel = None
        self.outdate("the graph was edited")

    def arm(self, on: bool) -> None:
        """Let the next backwards capture the gradients of all pairs, or stop and forget them."""
        self.armed = on
        if not on:
            self._captured = None

    def capture(self, gradient: Tensor) -> None:
        """Add the gradient (R, O) of all pairs of one backward pass."""
        self._captured = gradient if self._captured is None else self._captured + gradient

    def captured(self, values: EdgeValues) -> tuple[Tensor, ...]:
        """Return `(G (R, O),)`: a weight is small where a batch of windows is large, so no factors are kept."""
        if self._captured is None:
            raise EditRefusedError(
                f"{values.edge_set.name}: expected captured gradients, got none; call arm(), then forward and backward"
            )
        return (self._captured,)

    def factors(self, values: EdgeValues) -> tuple[Tensor, Tensor]:
        """Raise UnsupportedOperationError: a convolution has the gradients of all pairs and no factors."""
        raise UnsupportedOperationError(
            f"{values.edge_set.name}: expected a linear layer or a graph for the factors of gradients, got a "
            "convolution, which has those of all pairs; use captured()"
        )
