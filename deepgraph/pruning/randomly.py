"""Random: the baseline of every criterion."""

from __future__ import annotations

from torch import nn

from deepgraph.pruning.criterion import Criterion, Sample, Scores
from deepgraph.sparse.values import EdgeValues

__all__ = ["Randomly"]


class Randomly(Criterion):
    """Uniform random scores in [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> Randomly().graph_scores(np.zeros(2), Sample(np.random.default_rng(0))).round(3).tolist()
    [0.637, 0.27]
    """

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return random scores (E,) for each edge set."""
        return [sample.generator.random(one.edge_set.num_edges) for one in values]

    def graph_scores(self, weight: Scores, sample: Sample) -> Scores:
        """Return random scores (E,)."""
        return sample.generator.random(len(weight))
