"""Magnitude: the smallest weights go first."""

from __future__ import annotations

import numpy as np
from torch import nn

from deepgraph.pruning.criterion import Criterion, Sample, Scores
from deepgraph.sparse.values import EdgeValues

__all__ = ["Magnitude"]


class Magnitude(Criterion):
    """|w|, on request over the standard deviation of the weights of the edge set.

    Parameters
    ----------
    distributed : bool
        Divide by the standard deviation of each edge set.

    Notes
    -----
    See, Luong and Manning 2016 [1]_: with scope "global" this is their class-blind pruning, with scope "layer"
    class-uniform, and distributed with scope "global" class-distributed.

    Differs from the paper: class-distributed there takes the same multiple of the deviation as threshold in every
    class, as here, and finds it by the share to prune.

    References
    ----------
    .. [1] See, Luong, Manning: Compression of neural machine translation models via pruning, CoNLL 2016,
       arXiv 1606.09274.

    Examples
    --------
    >>> import deepgraph as dg
    >>> from deepgraph.sparse import edge_values
    >>> model = dg.SparseLinear(2, 2, seed=0)
    >>> (found,) = Magnitude().scores(model, edge_values(model), Sample(np.random.default_rng(0)))
    >>> bool((found == model.edge_sets[0].weight.__abs__()).all())
    True
    """

    def __init__(self, distributed: bool = False) -> None:
        self.distributed = distributed

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return |w| (E,) of each edge set."""
        return [self.graph_scores(one.values().double().cpu().numpy(), sample) for one in values]

    def graph_scores(self, weight: Scores, sample: Sample) -> Scores:
        """Return |w| (E,)."""
        size: Scores = np.abs(np.asarray(weight, np.float64))
        deviation = float(np.std(weight)) if self.distributed and len(size) else 1.0
        return size / deviation if deviation > 0 else size
