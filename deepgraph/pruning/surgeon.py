"""Layer-wise optimal brain surgeon: edges go where the sums of a layer change least, and the others make up for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.pruning.criterion import Criterion, Sample, Scores, working_copy
from deepgraph.sparse.masked_weight import WeightValues
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = ["OBS"]

Index = npt.NDArray[np.int64]

BLOCK = 1 << 24
"""Numbers in the matrices that are inverted together."""


class OBS(Criterion):
    """w^2 / (2 [H^-1]_ww): what the squared change of a neuron's sum would be, once its other weights make up for it.

    The weights that stay are moved so that the layer's sums change least; `prune` does so with every round.

    Parameters
    ----------
    damping : float
        Added to the diagonal of H, as a share of its mean, > 0.

    Raises
    ------
    ArgumentError
        If `damping` is not > 0; from `scores` if there is no data.
    UnsupportedOperationError
        From `scores`, for weights of PyTorch's modules other than Linear.

    Notes
    -----
    Hassibi and Stork 1993 [1]_, equations 5 and 6, with the Hessian of each layer by itself, as Dong et al. 2017 [2]_:
    H is the mean over samples of a a^T, where a are the outputs of the neurons that a neuron has edges from. Where
    several edges of a neuron go at once, the set P, the others move by -H^-1[:, P] (H^-1[P, P])^-1 w_P, the closed form
    of the least squares problem; biases stay.

    Differs from the papers: scores are those of single edges, and not computed anew after each; use `rounds=`.

    References
    ----------
    .. [1] Hassibi, Stork: Second order derivatives for network pruning: optimal brain surgeon, NeurIPS 1992.
    .. [2] Dong, Chen, Pan: Learning to prune deep neural networks via layer-wise optimal brain surgeon, NeurIPS 2017,
       arXiv 1705.07565.

    Examples
    --------
    Two inputs that are the same: the weight that stays takes over what the other did.

    >>> import deepgraph as dg
    >>> model = dg.SparseLinear(2, 1, bias=False, seed=0, dtype=torch.float64)
    >>> before = float(model.edge_sets[0].weight.sum())
    >>> x = torch.tensor([[1.0, 1.0], [2.0, 2.0]], dtype=torch.float64)
    >>> _ = dg.prune(model, 1, criterion=OBS(damping=1e-9), data=(x, None))
    >>> bool(abs(model.edge_sets[0].weight[0] - before) < 1e-6)
    True
    """

    def __init__(self, damping: float = 1e-4) -> None:
        if not 0 < damping < math.inf:
            raise ArgumentError(f"damping: expected a number > 0, got {damping!r}")
        self.damping = float(damping)
        self._inputs: dict[int, Tensor] = {}

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return w^2 / (2 [H^-1]_ww), (E,), for each edge set."""
        inputs = layer_inputs(model, sample)
        self._inputs = {id(one): a for one, a in zip(values, inputs, strict=True)}
        found = []
        for one in values:
            weight, score = one.values().double(), torch.zeros(one.edge_set.num_edges, dtype=torch.float64)
            for rows, inverse in self._inverses(one):
                score[rows] = weight[rows].square() / (2 * inverse.diagonal(dim1=1, dim2=2))
            found.append(score.numpy())
        return found

    def settle(self, values: EdgeValues, rows: Index) -> None:
        """Move the weights of an edge set that stay when `rows` (K,) go; called just before."""
        weight = values.values().double()
        gone = torch.zeros(len(weight), dtype=torch.bool)
        gone[torch.from_numpy(rows)] = True
        for edges, inverse in self._inverses(values):
            lost = gone[edges]
            # Where a weight stays, its row and column of the system are those of the identity, and it asks for 0.
            both = lost[:, :, None] & lost[:, None, :]
            system = torch.where(both, inverse, torch.eye(edges.shape[1], dtype=torch.float64))
            wanted = torch.linalg.solve(system, torch.where(lost, weight[edges], 0.0)[..., None])
            weight[edges] -= (inverse @ wanted)[..., 0]
        values.set_values(weight.masked_fill_(gone, 0))

    def _inverses(self, values: EdgeValues) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield edges (T, D) into T neurons of one fan-in D and the inverses (T, D, D) of their H."""
        a = self._inputs[id(values)]
        src, dst = (torch.from_numpy(side.astype(np.int64)) for side in values.edge_set.pairs())
        order = torch.argsort(dst, stable=True)
        degree = torch.bincount(dst, minlength=values.edge_set.num_targets)
        first = degree.cumsum(0) - degree
        for fan_in in sorted(set(degree.tolist())):
            if fan_in == 0:
                continue
            for targets in (degree == fan_in).nonzero().squeeze(1).split(max(1, BLOCK // fan_in**2)):
                edges = order[first[targets][:, None] + torch.arange(fan_in)]
                part = a[src[edges]]
                H = part @ part.mT / a.shape[1]
                mean = H.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(torch.float64).tiny)
                yield edges, torch.linalg.inv(H + self.damping * mean[:, None, None] * torch.eye(fan_in))


def layer_inputs(model: nn.Module, sample: Sample, criterion: str = "obs") -> list[Tensor]:
    """Return what each edge set's sources put out, (R, samples) in float64, over all batches.

    Raises
    ------
    ArgumentError
        If there is no data.
    UnsupportedOperationError
        For weights of PyTorch's modules other than Linear.
    """
    with working_copy(model, sample) as twin:
        values = edge_values(twin)
        seen: dict[int, list[Tensor]] = {id(one): [] for one in values}
        theirs = {id(one.parameter): one for one in values if isinstance(one, WeightValues)}
        for module in twin.modules():
            if isinstance(module, nn.Linear) and id(module.weight) in theirs:
                module.register_forward_pre_hook(_noting(seen[id(theirs.pop(id(module.weight)))]))
        if theirs:
            name = next(iter(theirs.values())).edge_set.name
            raise UnsupportedOperationError(
                f"{name}: expected a weight of a Linear or of a module of deepgraph for criterion {criterion!r}, got "
                "another; use 'obd' or 'magnitude'"
            )
        batches = 0
        for batches, (x, _) in enumerate(sample.batches(criterion), 1):  # noqa: B007 - counted
            for one in values:
                one.disarm()
                one.arm()
            output = twin(x)
            output.sum().backward()
            for one in values:
                if not isinstance(one, WeightValues):
                    seen[id(one)].append(one.factors()[0].double().cpu())
            del output
        if not batches:
            raise ArgumentError(f"data: expected at least one batch (x, y) for criterion {criterion!r}, got none")
        idle = [one.edge_set.name for one in values if not seen[id(one)]]
        if idle:
            raise ArgumentError(
                f"{', '.join(idle)}: expected layers that the model uses, for criterion {criterion!r}, got some that "
                "no batch came through; use 'snip' or 'magnitude'"
            )
        return [torch.cat(seen[id(one)], 1) for one in values]


def _noting(seen: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0].detach().reshape(-1, arguments[0].shape[-1]).T.double().cpu())

    return note
