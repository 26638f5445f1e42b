"""`NormedEngine`: a directed acyclic graph with a layer norm between the sums and the activations of each stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import EditRefusedError
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit
from deepgraph.kernels.activations import activation
from deepgraph.kernels.facts import describe
from deepgraph.kernels.operator import Program
from deepgraph.kernels.plan import NOMINAL_BATCH, Plan, make_plan
from deepgraph.kernels.topology import Topology
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.structure import Structure
from deepgraph.sparse.values import EdgeValues

__all__ = ["NormedEngine"]


class NormedEngine:
    """Computes stage by stage, one linear program each, because a norm looks at a whole stage at once.

    Slower than one operator for the whole graph: the cost per stage is that of several torch calls.

    Parameters
    ----------
    layer : EdgeLayer
        Of storage csr.
    facts : Structure
    norms : nn.ModuleDict
        One norm a stage with computed nodes, by the number of the stage.
    """

    has_factors = True

    def __init__(self, layer: EdgeLayer, facts: Structure, norms: nn.ModuleDict) -> None:
        self.layer, self.facts, self.norms = layer, facts, norms
        self.order = np.lexsort((np.arange(facts.num_nodes), facts.stage))
        self.rank = np.empty(facts.num_nodes, np.int64)
        self.rank[self.order] = np.arange(facts.num_nodes)
        bounds = np.flatnonzero(np.diff(facts.stage[self.order])) + 1
        self.bounds = [0, *bounds.tolist(), facts.num_nodes]
        self.bias_row = np.cumsum(~facts.is_input) - 1
        self.slope_row = np.cumsum(facts.has_slope) - 1
        self._steps: list[tuple[Program, Tensor, Tensor, Tensor]] | None = None
        self._armed, self.calibration, self.batch = False, "", NOMINAL_BATCH
        layer.edges.owner = self
        layer.edge_set.listen(self)

    def _compile(self) -> list[tuple[Program, Tensor, Tensor, Tensor]]:
        """Return for each stage its program, canonical rows of its edges, rows of its biases, its computed ranks."""
        if self._steps is None:
            src, dst = self.layer.edge_set.pairs()
            u, v = self.rank[src], self.rank[dst]
            steps = []
            for begin, end in zip(self.bounds[:-1], self.bounds[1:], strict=True):
                ranks = np.arange(begin, end)
                ranks = ranks[~self.facts.is_input[self.order[ranks]]]
                if not ranks.size:
                    continue
                rows = np.flatnonzero((v >= begin) & (v < end))
                rows = rows[np.lexsort((v[rows], u[rows]))]
                steps.append(self._step(begin, ranks, u[rows], v[rows], rows))
            self._steps = steps
        return self._steps

    def _step(self, begin: int, ranks: Any, u: Any, v: Any, rows: Any) -> tuple[Program, Tensor, Tensor, Tensor]:
        weight = self.layer.weight
        target = begin + np.searchsorted(ranks, v)
        topology = Topology(
            num_nodes=begin + len(ranks),
            src=u.astype(np.int32),
            dst=target.astype(np.int32),
            stage=np.repeat([0, 1], [begin, len(ranks)]).astype(np.int32),
            inputs=np.arange(begin),
            outputs=np.arange(begin, begin + len(ranks)),
            activation=np.zeros(begin + len(ranks), np.uint8),
            reduce=np.concatenate([np.zeros(begin, np.uint8), self.facts.reduce[self.order[ranks]]]),
        )
        program = Program(topology, "csr", "flat", weight.dtype, weight.device)
        program.armed = self._armed
        bias = self.bias_row[self.order[ranks]]
        return program, torch.from_numpy(rows), torch.from_numpy(bias), torch.from_numpy(ranks)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs (B, O) for x (B, I)."""
        facts, weight, bias = self.facts, self.layer.weight, self.layer.bias
        width = facts.num_nodes
        ranks_in = torch.from_numpy(self.rank[facts.inputs]).to(x.device)
        state = x.new_zeros(len(x), width).index_add(1, ranks_in, x)
        codes = facts.activation[self.order]
        for program, rows, bias_rows, ranks in self._compile():
            begin = len(program.topology.inputs)
            biases = weight.new_zeros(len(ranks)) if bias is None else bias[bias_rows.to(x.device)]
            z = program(state[:, :begin].contiguous(), [weight[rows.to(x.device)]], biases)
            stage = int(facts.stage[self.order[int(ranks[0])]])
            z = self.norms[str(stage)](z)
            a = self._activated(z, codes[ranks.numpy()], self.order[ranks.numpy()])
            state = state.index_copy(1, ranks.to(x.device), a)
        return state[:, torch.from_numpy(self.rank[facts.outputs]).to(x.device)]

    def _activated(self, z: Tensor, codes: Any, positions: Any) -> Tensor:
        """Return the activations of the sums (B, n) of nodes with these codes and positions (n,)."""
        groups = [np.flatnonzero(codes == code) for code in np.unique(codes)]
        parts = []
        for which in groups:
            entry, slope = activation(int(codes[which[0]])), self.layer.slope
            own = () if slope is None or not entry.has_slope else (slope[self.slope_row[positions[which]]],)
            parts.append(entry.forward(z if len(groups) == 1 else z[:, which], *own))
        return parts[0] if len(groups) == 1 else torch.cat(parts, 1)[:, np.argsort(np.concatenate(groups))]

    @property
    def reduced_targets(self) -> Any:
        """Which nodes (N,) take a maximum or a product, None where none does."""
        return self.facts.reduce != 0 if self.facts.reduce.any() else None

    @property
    def plan(self) -> Plan:
        """The plans of the stages."""
        return self.plan_for(self.batch)

    def plan_for(self, batch: int) -> Plan:
        """Return the plans of the stages at another batch."""
        weight = self.layer.weight
        dtype, device = str(weight.dtype).removeprefix("torch."), str(weight.device)
        facts = [describe(program.topology) for program, *_ in self._compile()]
        plans = [make_plan(fact, "csr", dtype, device, batch=batch) for fact in facts]
        return Plan.join({f"stage {k}": plan for k, plan in enumerate(plans)})

    def edit_check(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Nothing to refuse here: the layer's values ask whether a backward is pending."""

    def edit_done(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Rebuild the stages at the next call; a backward of an earlier forward is refused from now on."""
        for program, *_ in self._steps or ():
            program.outdate("the graph was edited")
        self._steps = None

    def pending(self) -> bool:
        """Return whether a forward waits for its backward."""
        return self._steps is not None and any(program.pending() for program, *_ in self._steps)

    def arm(self, on: bool) -> None:
        """Let the next backwards capture activations and gradients, or stop and forget them."""
        self._armed = on
        for program, *_ in self._steps or ():
            program.armed = on
            if not on:
                program.captured.clear()

    def factors(self, values: EdgeValues) -> tuple[Tensor, Tensor]:
        """Return `(A (N, B), dZ (N, B))`; see `EdgeValues.factors`."""
        steps = self._steps or []
        if not steps or not steps[-1][0].captured:
            raise EditRefusedError(
                "graph: expected captured gradients, got none; arm() before the forward and call backward()"
            )
        last = steps[-1][0]
        batch = sum(a.shape[1] for a, _ in last.captured)
        activity = self.layer.weight.new_zeros(self.facts.num_nodes, batch)
        gradient = torch.zeros_like(activity)
        begin = len(last.topology.inputs)
        activity[:begin] = torch.cat([a[:begin] for a, _ in last.captured], 1)
        for program, _, _, ranks in steps:
            begin = len(program.topology.inputs)
            gradient[ranks.to(gradient.device)] = torch.cat([dz[begin:] for _, dz in program.captured], 1)
        position = torch.from_numpy(self.rank).to(activity.device)
        return activity[position], gradient[position]

    def captured(self, values: EdgeValues) -> tuple[Tensor, ...]:
        """Return the factors: the gradients of all pairs are never made."""
        return self.factors(values)
