"""`MaskedLinearLayer`: a linear layer with a mask that is set, computed from the weights, or learned."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepgraph.errors import ShapeError
from deepgraph.sparse.maskable import MaskedLayer, bind_full, check_threshold, checked_mask, put_mask

__all__ = ["MaskedLinearLayer"]

# Half the distance between the two logits of a learned entry: on with probability 0.73 at the start.
_LOGIT = 0.5


class MaskedLinearLayer(nn.Linear, MaskedLayer):
    """A linear layer y = x (W * mask)^T + b.

    Parameters
    ----------
    in_feature, out_features : int
        R and C.
    bias : bool
    keep_layer_input : bool
        Keep the input of the last forward, detached, in `layer_input`.
    mask_as_params : bool
        Learn the mask: each entry has two logits in the parameter `_mask` (C, R, 2) and is on where the second is
        larger. Gradients pass straight through the choice, as that of its probability.
    device, dtype
        As in torch.

    Attributes
    ----------
    mask : (C, R) bool Tensor
        A copy; setting it takes bool, or zeros and ones. A weight that is masked is 0 from then on and one that comes
        back starts at 0. A learned mask sets its logits, and keeps all weights for their return.
    saliency : (C, R) Tensor
        Importance of each weight, for pruning: |weight| unless set.
    layer_input : Tensor or None
    weight : (C, R) Parameter
        Zero where the mask is off. No optimizer moves it there, whatever its weight decay or momentum.

    Notes
    -----
    A mask that is not learned is an edge set: `deepgraph.sparse.edge_values(layer)` returns it, and rewiring and
    pruning act on it. `layer[i, j]` is the weight that counts, mask included.

    Learned masks: Louizos et al. 2018 and Bengio et al. 2013 describe the straight-through gradient.

    Examples
    --------
    >>> layer = MaskedLinearLayer(3, 2)
    >>> layer.mask = torch.tensor([[1, 0, 0], [0, 1, 1]])
    >>> layer.get_weight_count(), layer[0, 1].item()
    (3, 0.0)
    """

    layer_input: Tensor | None

    def __init__(
        self,
        in_feature: int,
        out_features: int,
        bias: bool = True,
        keep_layer_input: bool = False,
        mask_as_params: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_feature, out_features, bias, device=device, dtype=dtype)
        self.keep_layer_input, self.mask_as_params = keep_layer_input, mask_as_params
        self.layer_input = None
        self._saliency: Tensor | None = None
        if mask_as_params:
            self._mask = nn.Parameter(self._logits(torch.ones_like(self.weight, dtype=torch.bool)))
            self.register_buffer("_kept", self.weight.detach().clone(), persistent=False)
            self.register_buffer("_was_on", torch.ones_like(self.weight, dtype=torch.bool), persistent=False)
        else:
            bind_full(self, "weight")

    def reset_parameters(self, keep_mask: bool = False) -> Self:  # type: ignore[override]
        """Draw weights and biases as `nn.Linear` does, turn all weights on unless `keep_mask`; return the layer."""
        # nn.Linear calls this before there is a mask.
        made = "layer_input" in self.__dict__
        if made and not keep_mask:
            self.mask = torch.ones_like(self.weight, dtype=torch.bool)
        nn.Linear.reset_parameters(self)
        return self.apply_mask() if made else self

    # -- the mask ---------------------------------------------------------------------------------------------------

    def _logits(self, mask: Tensor) -> Tensor:
        half = torch.where(mask, _LOGIT, -_LOGIT).to(self.weight)
        return torch.stack([-half, half], 2)

    @property
    def mask(self) -> Tensor:
        """Which weights are on (C, R) bool; a copy."""
        if self.mask_as_params:
            return self._mask.detach()[..., 1] >= self._mask.detach()[..., 0]
        return self.masked_weights()[0].mask()

    @mask.setter
    def mask(self, mask: Any) -> None:
        wanted = checked_mask(mask, self.weight.shape, "mask").to(self.weight.device)
        if self.mask_as_params:
            with torch.no_grad():
                self._mask.copy_(self._logits(wanted))
        else:
            put_mask(self.masked_weights()[0], wanted)

    def get_weight_count(self) -> int:
        """Return the number of weights that are on."""
        return int(self.mask.sum())

    def recompute_mask(self, theta: float = 0.001, keep_masked: bool = True) -> Self:
        """Mask weights below theta in magnitude, and return the layer; see `MaskableModule.recompute_mask`."""
        if self.mask_as_params:
            large = self.weight.detach().abs() >= check_threshold(theta)
            self.mask = large & self.mask if keep_masked else large
            return self
        return super().recompute_mask(theta, keep_masked)

    def __getitem__(self, key: Any) -> Tensor:
        return (self.weight * self.mask)[key]

    # -- saliency ---------------------------------------------------------------------------------------------------

    @property
    def saliency(self) -> Tensor:
        """Importance of each weight (C, R): |weight| unless set. Edges keep theirs in the edge column `saliency`."""
        size = self.weight.detach().abs()
        if self.mask_as_params:
            return size if self._saliency is None else self._saliency
        edges = self.masked_weights()[0].edge_set
        if edges.columns.has("saliency"):
            kept = torch.from_numpy(np.array(edges.columns.array("saliency", np.nan), np.float64)).to(size)
            src, dst = (torch.from_numpy(np.array(ends, np.int64)).to(size.device) for ends in edges.pairs())
            size[dst, src] = torch.where(kept.isnan(), size[dst, src], kept)
        return size

    @saliency.setter
    def saliency(self, saliency: Tensor) -> None:
        if saliency.shape != self.weight.shape:
            raise ShapeError(
                f"saliency: expected shape {tuple(self.weight.shape)} as the weight's, got {tuple(saliency.shape)}"
            )
        if self.mask_as_params:
            self._saliency = saliency.detach().clone()
            return
        edges = self.masked_weights()[0].edge_set
        src, dst = edges.pairs()
        edges.columns.put("saliency", saliency.detach().cpu().double().numpy()[dst, src])

    # -- computing --------------------------------------------------------------------------------------------------

    def forward(self, input: Tensor) -> Tensor:
        """Return (..., C) for x (..., R)."""
        if self.keep_layer_input:
            self.layer_input = input.detach()
        return functional.linear(input, self._effective() if self.mask_as_params else self.weight, self.bias)

    def _effective(self) -> Tensor:
        """Return the weight times the chosen mask, with the gradient of the probability for the logits."""
        self._put_back()
        probability = torch.softmax(self._mask, 2)[..., 1]
        chosen = (self._mask[..., 1] >= self._mask[..., 0]).to(probability)
        return self.weight * (chosen + probability - probability.detach())

    @torch.no_grad()
    def _put_back(self) -> None:
        """Give weights that are masked, and were at the last call, the values they had then."""
        # Their gradients are zero, but weight decay and momentum of the optimizer act on all entries of a parameter.
        on, kept, was_on = self.mask, self._buffers["_kept"], self._buffers["_was_on"]
        if kept is None or was_on is None:
            return
        kept.copy_(torch.where(was_on, self.weight, kept))
        moved = ~on & ~was_on & (self.weight != kept)
        if bool(moved.any()):
            self.weight[moved] = kept[moved]
        was_on.copy_(on)

    def extra_repr(self) -> str:
        """Return sizes, whether there is a bias, and how many weights are on."""
        learned = ", mask_as_params=True" if self.mask_as_params else ""
        return f"{super().extra_repr()}, on={self.get_weight_count()}{learned}"
