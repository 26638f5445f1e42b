"""`EdgeLayer`: one edge set with its parameter and biases; what FFN, DAN and `SparseLinear` are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import StructureError
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.sparse.edge_masks import EdgeMasks
from deepgraph.sparse.values import Addresses, EdgeValues

__all__ = ["EdgeLayer"]


class EdgeLayer(EdgeMasks, nn.Module):
    """Holds an edge set, its weights and the biases of its targets; a module around it computes.

    Parameters
    ----------
    edge_set : EdgeSet
        R sources, C targets.
    weight : (E,) Tensor
        In canonical order.
    bias : (C,) Tensor or None
        None for a layer without biases.
    addresses : Addresses, optional
        For storage `masked`.
    coo : bool
        Whether edge values are computed by storage `coo` in place of `csr`.
    slope : (S,) Tensor or None
        Of the targets whose activation is prelu, in ascending position; None where there are none.

    Notes
    -----
    `state_dict` holds `src`, `dst` (E,) and `weight` (E,) in canonical order whatever the storage, and loading one
    adopts the edges it finds, as one edit. `bias` and `slope` are there where the layer has them.
    """

    def __init__(
        self,
        edge_set: EdgeSet,
        weight: Tensor,
        bias: Tensor | None,
        addresses: Addresses | None = None,
        coo: bool = False,
        slope: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.coo = coo
        if not weight.is_meta and not bool(torch.isfinite(weight).all()):
            raise StructureError(f"{edge_set.name}: expected finite weights, got NaN or infinity; set the column anew")
        dense = weight.clone() if addresses is None else weight.new_zeros(addresses.shape)
        self.weight = nn.Parameter(dense)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.slope = None if slope is None else nn.Parameter(slope)
        self.edges = EdgeValues(edge_set, self.weight, addresses)
        self._bind()
        if addresses is not None:
            self.edges.set_values(weight)

    def _bind(self) -> None:
        self.edges.edge_set.bind(self.edges)
        self.edges.edge_set.listen(self.edges)

    @property
    def storage(self) -> str:
        """ "csr", "coo" or "masked"; edge values of the first two are held alike."""
        return "coo" if self.coo else self.edges.storage

    @property
    def edge_set(self) -> EdgeSet:
        """The pairs of this layer."""
        return self.edges.edge_set

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> EdgeLayer:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # With torch.__future__.set_overwrite_module_params_on_conversion a conversion makes a new parameter.
        self.edges.parameter = self.weight
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.edges.parameter = self.weight
        self._bind()

    # -- state_dict -------------------------------------------------------------------------------------------------

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        src, dst = self.edge_set.pairs()
        destination[prefix + "src"] = torch.from_numpy(np.array(src))
        destination[prefix + "dst"] = torch.from_numpy(np.array(dst))
        flat = self.weight.view(-1) if keep_vars else self.weight.detach().view(-1)
        destination[prefix + "weight"] = flat[self.edges.index()]
        for name, parameter in self._of_targets().items():
            destination[prefix + name] = parameter if keep_vars else parameter.detach()

    def _of_targets(self) -> dict[str, nn.Parameter]:
        """Return the parameters that belong to targets and not to edges, by name."""
        return {name: p for name, p in (("bias", self.bias), ("slope", self.slope)) if p is not None}

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        names = ["src", "dst", "weight", *self._of_targets()]
        absent = [prefix + name for name in names if prefix + name not in state_dict]
        if strict:
            missing_keys.extend(absent)
            known = {prefix + name for name in names}
            unexpected_keys.extend(k for k in state_dict if k.startswith(prefix) and k not in known)
        if not absent:
            try:
                self._adopt(**{name: state_dict[prefix + name] for name in names})
            except (ValueError, TypeError, RuntimeError) as error:
                error_msgs.append(f"{prefix.rstrip('.')}: {error}")

    def _adopt(self, src: Tensor, dst: Tensor, weight: Tensor, **of_targets: Tensor) -> None:
        """Take over pairs, weights, biases and slopes of a state dict, all or nothing."""
        edges = self.edge_set
        u, v = src.cpu().numpy(), dst.cpu().numpy()
        if weight.shape != src.shape or src.shape != dst.shape:
            raise StructureError(
                f"expected src, dst and weight of one length, got {src.shape}, {dst.shape}, {weight.shape}"
            )
        for name, parameter in self._of_targets().items():
            if name in of_targets and of_targets[name].shape != parameter.shape:
                kind = "biases" if name == "bias" else "slopes"
                raise StructureError(f"expected {parameter.numel()} {kind}, got shape {tuple(of_targets[name].shape)}")
        wanted = EdgeSet.from_pairs(
            u, v, edges.num_sources, edges.num_targets, {"weight": weight.detach().cpu().double().numpy()},
            name=edges.name, stage=edges.stage, closed=edges.closed,
        )  # fmt: skip
        have_src, have_dst = edges.pairs()
        gone = wanted.find(have_src, have_dst) < 0
        want_src, want_dst = wanted.pairs()
        new = edges.find(want_src, want_dst) < 0
        self.edges.check_idle("load weights")
        if gone.any() or new.any():
            edges.edit(
                drop=(have_src[gone], have_dst[gone]), grow=(want_src[new], want_dst[new]), reason="load_state_dict"
            )
        order = np.lexsort((v, u))
        if self.edges.addresses is not None:
            # After to_empty anything may lie off the mask.
            self.weight.data.zero_()
        self.edges.set_values(weight.detach()[torch.from_numpy(order).to(weight.device)])
        with torch.no_grad():
            for name, parameter in self._of_targets().items():
                if name in of_targets:
                    parameter.copy_(of_targets[name])

    def extra_repr(self) -> str:
        """Return sizes, edges and storage."""
        edges = self.edge_set
        return (
            f"{edges.num_sources}, {edges.num_targets}, edges={edges.num_edges}, density={edges.density:.4g}, "
            f"storage={self.storage}, bias={self.bias is not None}"
        )
