"""Attention on the math path: the structure that a mask leaves, exactly, and products of activations are carried."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from deepgraph.errors import TooLargeError
from deepgraph.sparse import MaskedDeepDAN
from deepgraph.transform import estimate, extract

T, W = 4, 4
LOWER = torch.ones(T, T, dtype=torch.bool).tril()
ADDED = torch.zeros(T, T, dtype=torch.float64).masked_fill(~LOWER, float("-inf"))
LAST = torch.tensor([[False, False, False, True]])


class Attention(nn.Module):
    """Attention in the ways in which people write it."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.query, self.key, self.value = (nn.Linear(W, W) for _ in range(3))
        self.heads = nn.MultiheadAttention(W, 2, batch_first=True)
        self.double()

    def forward(self, x):
        how = self.how
        if how in HEADS:
            return self.heads(x, x, x, **HEADS[how])[0]
        query, key, value = self.query(x), self.key(x), self.value(x)
        if how in SCALED:
            return F.scaled_dot_product_attention(query, key, value, **SCALED[how])
        scores = query @ key.transpose(1, 2)
        if how == "fill":
            scores = scores.masked_fill(~LOWER, float("-inf"))
        elif how == "finite":
            scores = scores.masked_fill(~LOWER, -1e9)
        elif how == "added":
            scores = scores + torch.where(LOWER, 0.0, torch.finfo(torch.float32).min)
        elif how == "where":
            scores = torch.where(LOWER, scores, float("-inf"))
        elif how == "einsum":
            return torch.einsum("bqk,bkd->bqd", torch.einsum("bqd,bkd->bqk", query, key).softmax(-1), value)
        return scores.softmax(-1) @ value


HEADS = {
    "heads": {"need_weights": False},
    "heads, weights": {},
    "heads, causal": {"attn_mask": ADDED, "need_weights": False},
    "heads, causal, weights": {"attn_mask": ADDED},
    "heads, is_causal": {"attn_mask": ADDED, "is_causal": True, "need_weights": False},
    "heads, bool": {"attn_mask": ~LOWER},
    "heads, padded": {"key_padding_mask": LAST.expand(1, -1)},
}
SCALED = {
    "scaled": {},
    "scaled, causal": {"is_causal": True},
    "scaled, bool": {"attn_mask": LOWER},
    "scaled, float": {"attn_mask": ADDED},
}


def jacobian_of(model, x):
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.autograd.functional.jacobian(model, x).reshape(-1, x.numel()).numpy()


@pytest.mark.parametrize("how", [*HEADS, *SCALED, "plain", "fill", "finite", "added", "where", "einsum"])
def test_reachability_is_the_support_of_the_jacobian(reach, how):
    torch.manual_seed(0)
    model = Attention(how).eval()
    x = torch.randn(1, T, W, dtype=torch.float64)
    if how == "heads, padded":
        # One mask per sample: the trace runs two of them.
        model.forward = lambda x: model.heads(x, x, x, key_padding_mask=LAST.expand(len(x), -1))[0]
    graph = extract(model, x)
    assert np.array_equal(jacobian_of(model, x) != 0, reach(graph))
    assert not graph.graph["exact"]
    assert all("softmax" in reason for reason in graph.graph["inexact"])


def test_a_decoder_reads_no_later_tokens(reach):
    torch.manual_seed(1)
    model = nn.TransformerDecoderLayer(W, 2, 6, batch_first=True, dropout=0.0).eval().double()
    x = torch.randn(1, T, W, dtype=torch.float64)
    graph = extract(lambda x: model(x, torch.ones_like(x), tgt_mask=ADDED), x)
    found = reach(graph).reshape(T, W, T, W).any((1, 3))
    assert np.array_equal(found, LOWER.numpy())


class Linear(nn.Module):
    """Attention without a softmax, causal by a factor of 0, and a bilinear form: sums of products."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(W, W), nn.Linear(W, W)

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(1, 2) * LOWER / 2
        return scores @ x + torch.baddbmm(x, scores, scores, alpha=0.5)


@pytest.mark.parametrize("fuse", [True, False])
def test_products_of_matrices_of_activations_are_carried(evaluate, reach, fuse):
    torch.manual_seed(2)
    model = Linear().double()
    x = torch.randn(5, T, W, dtype=torch.float64)
    graph = extract(model, x, fuse=fuse)
    assert graph.graph["exact"]
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-12)
    assert np.array_equal(jacobian_of(model, x[:1]) != 0, reach(graph))
    compiled = MaskedDeepDAN.from_graph(graph, dtype=torch.float64)
    assert torch.allclose(compiled(x.flatten(1)), model(x), atol=1e-12)


def test_constants_among_the_factors_are_weights_and_equal_factors_are_squared(evaluate):
    def model(x):
        left = torch.cat([x, torch.full_like(x[:, :1], 3.0), torch.zeros_like(x[:, :1])], 1)[:, None]
        right = torch.cat([x, x[:, :1], x[:, 1:]], 1)[..., None]
        return (left @ right)[:, 0]

    x = torch.randn(4, 2, dtype=torch.float64)
    graph = extract(model, x)
    # Two squares, three times the first, nothing of what meets the zero.
    assert sorted(graph.column("weight").tolist()) == [1.0] * 8 + [3.0]
    assert np.allclose(evaluate(graph, x), (x**2).sum(1, keepdim=True) + 3 * x[:, :1])


def test_products_are_counted_before_they_are_made():
    model, x = Linear(), torch.randn(1, T, W)
    size, graph = estimate(model, x), extract(model, x, fuse=False)
    assert graph.number_of_edges() <= size.edges
    assert len(graph) <= size.nodes
    with pytest.raises(TooLargeError, match="max_edges=100 edges"):
        extract(model, x, max_edges=100)
