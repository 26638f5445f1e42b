"""`Engine`: computes a chain of edge layers as one operator, and follows their edits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from deepgraph.errors import DtypeError, EditRefusedError, ShapeError, UnsupportedOperationError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit
from deepgraph.kernels.buffers import Buffers
from deepgraph.kernels.facts import describe
from deepgraph.kernels.operator import Program, graph_operator, register
from deepgraph.kernels.plan import NOMINAL_BATCH, Plan, choose_storage, make_plan
from deepgraph.kernels.side_by_side import Placed, joined_pairs, with_edited
from deepgraph.kernels.topology import Topology
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.values import EdgeValues

__all__ = ["Engine", "Part", "chosen_storage"]

Part = tuple[EdgeLayer, int, int]
"""An edge layer, the position of its first source and the position of its first target."""


def nobody_watches(x: Tensor) -> bool:
    """Return whether no compiler, tracer, mode or transform of torch has to see the operator that is called on x.

    Examples
    --------
    >>> nobody_watches(torch.zeros(1))
    True
    """
    return (
        not torch.compiler.is_compiling()
        and type(x) is Tensor
        and not x.is_meta
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._len_torch_function_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._get_tracing_state() is None
    )


def chosen_storage(edges: EdgeSet, batch: int) -> str:
    """Return the storage that "auto" takes for an edge set of this shape and density at a number of rows a pass.

    Examples
    --------
    >>> chosen_storage(EdgeSet.from_pairs([0], [0], 300, 300), 128)
    'csr'
    """
    elements = edges.num_sources * edges.num_targets if edges.stage is None else 0
    return choose_storage(edges.density, elements=elements, batch=batch)


class Engine:
    """Runs the program of one topology over the parameters of its edge layers.

    Parameters
    ----------
    parts : list of (EdgeLayer, first source, first target)
        Rows ascend and do not overlap.
    nodes : dict
        What `Topology` takes besides edges: num_nodes, stage, inputs, outputs, activation, labels.
    storage : {"csr", "coo", "masked"}
    automatic : bool
        Whether the storage was chosen by the layers' density and not by the user; the plan says which.

    Attributes
    ----------
    chain : tuple of Engine
        The engines of the module that run one after another, this one among them: the outputs of each are the inputs
        of the next. Its own alone until the module says more.
    """

    has_factors = True

    def __init__(self, parts: list[Part], nodes: dict[str, Any], storage: str, automatic: bool = False) -> None:
        self.parts, self.storage, self.automatic = parts, storage, automatic
        (src, dst), splits = joined_pairs(self._sets()), tuple(layer.edge_set.num_edges for layer, _, _ in parts)
        self.topology = Topology(src=src, dst=dst, splits=splits, **nodes)
        self.calibration, self.batch = "", NOMINAL_BATCH
        self.chain: tuple[Engine, ...] = (self,)
        self._program: Program | None = None
        self._stale = False
        # Indexes of the edges before and after an edit, for the kernel that needs them.
        self._buffers = Buffers(8) if storage == "csr" else None
        self._placed: tuple[torch.device, torch.dtype] | None = None
        self._armed = False
        self._zeros: dict[Any, Tensor] = {}
        # Plain numbers, and a handle that outlives programs: what a compiled graph keeps of this engine.
        self.width, self.num_computed = len(self.topology.inputs), self.topology.num_computed
        self._bent = self.topology.num_slopes > 0
        self._targets = [layer.edge_set.num_targets for layer, _, _ in parts]
        self.handle = register(self)
        for layer, _, _ in parts:
            layer.edges.owner = self
            layer.edge_set.listen(self)

    def program(self) -> Program:
        """Return the program for the present edges, device and dtype of the parameters."""
        layer = self.parts[0][0]
        weight = layer._parameters.get("weight")
        weight = layer.weight if weight is None else weight
        placed = (weight.device, weight.dtype)
        if self._stale:
            # Edge sets check their pairs themselves.
            self.topology = with_edited(self.topology, self._sets(), self._buffers)
            if self._program is not None and self._placed == placed:
                self._program.replace_topology(self.topology, cause=None)
            self._stale = False
        if self._program is None or self._placed != placed:
            layout = "layers" if weight.dim() == 2 else "flat"
            self._program = Program(self.topology, self.storage, layout, weight.dtype, weight.device)
            self._program.armed = self._armed
            self._placed = placed
        return self._program

    def _sets(self) -> list[Placed]:
        """Return the edges of all layers as they are now."""
        sets = [(layer.edge_set, row, column) for layer, row, column in self.parts]
        return [Placed(edges.indptr, edges.dst, edges.num_targets, *place) for edges, *place in sets]

    @property
    def armed(self) -> bool:
        """Whether the next backwards capture growth factors."""
        return self._armed

    @property
    def plan(self) -> Plan:
        """How the layers are computed and why, each under the name of its edge set."""
        return self.plan_for(self.batch)

    def plan_for(self, batch: int) -> Plan:
        """Return the plan at another batch, with the storages that there are."""
        program = self.program()
        made = program.plan.parts[0]
        # Made anew: the program's own tells what there was before the edits.
        plan = make_plan(
            describe(program.topology), made.storage, made.dtype, made.device, layout=made.layout, name=made.name,
            batch=batch,
        )  # fmt: skip
        part = replace(plan.parts[0], why=made.why)
        names = [layer.edge_set.name for layer, _, _ in self.parts]
        weights = tuple(replace(entry, name=name) for entry, name in zip(part.weights, names, strict=True))
        full = part.storage == "masked" and all(entry.edges == entry.pairs for entry in weights)
        density = sum(entry.edges for entry in weights) / max(sum(entry.pairs for entry in weights), 1)
        chosen = "edge values" if part.storage == "csr" else "dense matrices"
        named = f", by {self.calibration}" if self.calibration else ""
        why = f"{chosen} because {density:.2%} of the pairs are edges{named}" if self.automatic else part.why
        notes = part.notes + (self._otherwise(batch) if self.automatic and batch != self.batch else ())
        return Plan((replace(part, weights=weights, why=why, storage="dense" if full else part.storage, notes=notes),))

    def _otherwise(self, batch: int) -> tuple[str, ...]:
        """Return what a plan says where "auto" would take another storage at this batch."""
        layers = [layer for layer, _, _ in self.parts]
        better = {layer.edge_set.name: chosen_storage(layer.edge_set, batch) for layer in layers}
        names = [layer.edge_set.name for layer in layers if layer.storage != better[layer.edge_set.name]]
        if not names or not self.topology.only_sums:
            return ()
        return (
            f"made for batch {self.batch}: at batch {batch} 'auto' takes {better[names[0]]} for {', '.join(names)}; "
            f"build the model with batch={batch}",
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs (B, O) for x (B, I)."""
        plain = nobody_watches(x)
        if plain and not torch.is_grad_enabled():
            return self.program().kernel.infer(x, *self._tensors())
        if plain:
            weights, biases = self._tensors()
            return graph_operator.direct(x, weights, biases[0] if len(biases) == 1 else torch.cat(biases), self.handle)
        weights = [layer.weight for layer, _, _ in self.parts]
        y: Tensor = graph_operator(x, weights, self.bias(weights[0]), self.handle)[0]
        return y

    def _tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the weights and the biases, read past `nn.Module`, whose attributes cost more than a layer's work."""
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        for (layer, _, _), count in zip(self.parts, self._targets, strict=True):
            parameters = layer._parameters
            found = parameters.get("weight")
            weight = layer.weight if found is None else found
            found = parameters.get("bias")
            bias: Tensor | None = layer.bias if found is None else found
            weights.append(weight)
            biases.append(self._no_bias(weight, count) if bias is None else bias)
        return weights, biases + self._slopes()

    def _slopes(self) -> list[Tensor]:
        """Return the slopes of the layers that have some."""
        found = [layer.slope for layer, _, _ in self.parts] if self._bent else []
        return [slope for slope in found if slope is not None]

    def _no_bias(self, like: Tensor, count: int) -> Tensor:
        """Return zeros, which nobody writes to, in place of the biases of a layer without; the same ones each time."""
        # A tensor made in inference mode would be none that autograd can keep.
        key = (like.dtype, like.device, count, torch.is_inference_mode_enabled())
        if key not in self._zeros:
            self._zeros[key] = like.new_zeros(self.num_computed if len(self.parts) == 1 else count)
        return self._zeros[key]

    def bias(self, like: Tensor) -> Tensor:
        """Return the biases (C,) of all layers, 0 for layers without, then slopes; of dtype and device of `like`."""
        biases, slopes = [layer.bias for layer, _, _ in self.parts], self._slopes()
        if len(biases) == 1 and biases[0] is not None:
            return torch.cat([biases[0], *slopes]) if slopes else biases[0]
        if all(bias is None for bias in biases):
            zeros = like.new_zeros(self.num_computed)
            return torch.cat([zeros, *slopes]) if slopes else zeros
        found = [like.new_zeros(n) if b is None else b for n, b in zip(self._targets, biases, strict=True)]
        return torch.cat([*found, *slopes])

    def accept(self, dweights: list[Tensor], dbias: Tensor) -> None:
        """Make gradients, one tensor like each weight and one of all biases and slopes, those of the parameters."""
        for (layer, _, _), gradient in zip(self.parts, dweights, strict=True):
            if layer.weight.requires_grad:
                layer.weight.grad = gradient
        # One layer of a graph has a bias for each computed node, not for each of its targets.
        counts = [self.num_computed] if len(self.parts) == 1 else self._targets
        slopes = self._slopes()
        parts = torch.split(dbias, counts + [len(slope) for slope in slopes]) if len(counts) > 1 or slopes else [dbias]
        for slope, gradient in zip(slopes, parts[len(counts) :], strict=True):
            if slope.requires_grad:
                slope.grad = gradient
        for (layer, _, _), gradient in zip(self.parts, parts, strict=False):
            if layer.bias is not None and layer.bias.requires_grad:
                layer.bias.grad = gradient

    @property
    def reduced_targets(self) -> Array | None:
        """Which nodes of a graph (N,) take a maximum or a product, None where none does."""
        return None if self.topology.only_sums else (self.topology.reduce != 0) & ~self.topology.is_input

    def check(self, x: Any, name: str = "x") -> None:
        """Raise unless x is a floating tensor (B, I) of the parameters' dtype and device."""
        layer = self.parts[0][0]
        weight = layer._parameters.get("weight")
        weight = layer.weight if weight is None else weight
        if not isinstance(x, Tensor):
            raise DtypeError(f"{name}: expected a torch.Tensor, got {type(x).__name__}")
        if x.dtype == weight.dtype and x.dim() == 2 and x.shape[1] == self.width and x.device == weight.device:
            return
        if x.dtype != weight.dtype:
            raise DtypeError(
                f"{name}: expected dtype {weight.dtype} as the model's, got {x.dtype}; "
                f"convert with x.to({weight.dtype}) or the model with model.to({x.dtype})"
            )
        width = self.width
        if x.dim() != 2 or x.shape[1] != width:
            raise ShapeError(f"{name}: expected shape (batch, {width}), got {tuple(x.shape)}")
        if x.device != weight.device:
            raise UnsupportedOperationError(f"{name}: expected device {weight.device} as the model's, got {x.device}")

    # -- following edits --------------------------------------------------------------------------------------------

    def edit_check(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Nothing to refuse here: the layer's values ask whether a backward is pending."""

    def edit_done(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Rebuild the indexes at the next call; a backward of an earlier forward is refused from now on."""
        self._stale = True
        if self._program is not None:
            self._program.outdate("the graph was edited")

    def pending(self) -> bool:
        """Return whether a forward waits for its backward."""
        return self._program is not None and self._program.pending()

    def arm(self, on: bool) -> None:
        """Let the next backwards capture activations and gradients, or stop and forget them."""
        self._armed = on
        if self._program is not None:
            self._program.armed = on
            if not on:
                self._program.captured.clear()

    def factors(self, values: EdgeValues) -> tuple[Tensor, Tensor]:
        """Return `(A, dZ)` of one layer's sources and targets; see `EdgeValues.factors`."""
        captured = self._program.captured if self._program is not None else []
        if not captured:
            raise EditRefusedError(
                f"{values.edge_set.name}: expected captured gradients, got none; call arm(), then forward and backward"
            )
        _, row, column = next(part for part in self.parts if part[0].edges is values)
        edges = values.edge_set
        sources = [a[row : row + edges.num_sources] for a, _ in captured]
        targets = [dz[column : column + edges.num_targets] for _, dz in captured]
        if len(captured) == 1:
            return sources[0], targets[0]
        return torch.cat(sources, 1), torch.cat(targets, 1)

    def captured(self, values: EdgeValues) -> tuple[Tensor, ...]:
        """Return the factors: the gradients of all pairs are never made."""
        return self.factors(values)
