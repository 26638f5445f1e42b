"""LAMP and Wanda: magnitudes that compare across layers, and across the neurons of a layer by what comes into them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from deepgraph.pruning.criterion import Criterion, Sample, Scores
from deepgraph.pruning.surgeon import layer_inputs
from deepgraph.sparse.values import EdgeValues

__all__ = ["LAMP", "Wanda"]


class LAMP(Criterion):
    """w^2 over the sum of the squares of all weights of the edge set that are not smaller: a magnitude for all layers.

    Notes
    -----
    Lee et al. 2021 [1]_, equation 4, with scope "global"; the largest weight of every edge set scores 1, so none loses
    all its edges before the others have one left. With scope "layer" the order is that of |w|.

    Differs from the paper: nothing; equal weights are ranked as they are stored.

    References
    ----------
    .. [1] Lee, Park, Mo, Ahn, Shin: Layer-adaptive sparsity for the magnitude-based pruning, ICLR 2021,
       arXiv 2010.07611.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.SparseLinear(2, 1, bias=False, seed=0)
    >>> model.layer.edges.set_values(torch.tensor([1.0, -2.0]))
    >>> LAMP().scores(model, [model.layer.edges], Sample(np.random.default_rng(0)))[0].tolist()
    [0.2, 1.0]
    """

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return the scores (E,) of each edge set, in [0, 1]."""
        return [_adapted(one.values().double().cpu().numpy()) for one in values]


def _adapted(weight: Scores) -> Scores:
    square = np.square(weight)
    order = np.argsort(square, kind="stable")
    tail = np.cumsum(square[order][::-1])[::-1]
    score = np.zeros(len(square))
    score[order] = np.divide(square[order], tail, out=np.zeros(len(square)), where=tail > 0)
    return score


class Wanda(Criterion):
    """|w_uv| |a_u|, with the norm of a source's outputs over the samples, compared among the edges into one neuron.

    Notes
    -----
    Sun et al. 2024 [1]_, equation 1: pruning without retraining or gradients. The score of an edge is the share of the
    edges into its neuron that are not more important, so with scope "layer" every neuron loses the same share of its
    edges. `data` is a few batches (x, y), of which only x is used.

    Differs from the paper: nothing for linear layers; a network is scored in one pass, where the authors prune a block
    before they look at the inputs of the next.

    References
    ----------
    .. [1] Sun, Liu, Bair, Kolter: A simple and effective pruning approach for large language models, ICLR 2024,
       arXiv 2306.11695.

    Examples
    --------
    A small weight on a large input is worth more than a larger one on a small input.

    >>> import deepgraph as dg
    >>> model = dg.SparseLinear(2, 1, bias=False, seed=0)
    >>> model.layer.edges.set_values(torch.tensor([0.5, 1.0]))
    >>> _ = dg.prune(model, 1, criterion=Wanda(), data=(torch.tensor([[8.0, 1.0]]), None))
    >>> model.edge_sets[0].weight.tolist()
    [0.5]
    """

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return the scores (E,) of each edge set, in (0, 1].

        Raises
        ------
        ArgumentError
            If there is no data.
        UnsupportedOperationError
            For weights of PyTorch's modules other than Linear.
        """
        inputs = layer_inputs(model, sample, "wanda")
        found = []
        for one, a in zip(values, inputs, strict=True):
            src, dst = one.edge_set.pairs()
            norm = torch.linalg.vector_norm(a, dim=1).numpy()
            found.append(shares_within(np.abs(one.values().double().cpu().numpy()) * norm[src], np.asarray(dst)))
        return found


def shares_within(importance: Scores, group: np.ndarray) -> Scores:
    """Return the place (E,) of each edge among those of its group, from the least important, over their number.

    Edges in the same place of groups of one size are told apart by their importance.

    Examples
    --------
    >>> shares_within(np.array([3.0, 1.0, 2.0]), np.array([0, 0, 1])).round(6).tolist()
    [1.0, 0.5, 1.0]
    """
    order = np.lexsort((importance, group))
    place = np.empty(len(group))
    place[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order]) + 1
    size = np.bincount(group, minlength=1)[group]
    largest = float(importance.max(initial=0.0)) or 1.0
    result: Scores = place / size + 1e-9 * (importance / largest - 1)
    return result
