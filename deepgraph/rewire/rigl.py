"""`RigL`: the rigged lottery."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from deepgraph.rewire.groups import Grouping
from deepgraph.rewire.growth import GradientGrowth
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.rewire.schedule import Decay
from deepgraph.sparse.randomness import Seed

__all__ = ["RigL"]


class RigL(Rewirer):
    """The rigged lottery: drop the smallest |w|, grow where the gradient of the loss is largest.

    An edit takes the place of the optimizer's step. The gradients are those of the backwards before it: `step` listens
    one step ahead, and gradients of absent edges exist only as factors, never as a dense matrix.

    Parameters
    ----------
    model, optimizer, every, until, drop_fraction, decay, group, average, seed
        As for `Rewirer`; `drop_fraction` is the paper's alpha, `until` its T_end, at which the share reaches 0.
        The paper takes 0.3, every 100 steps, until three quarters of the training.

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`.

    Notes
    -----
    Algorithm 1 of Evci et al. 2020 [1]_: at a step t with t mod every = 0 and t < until, an edge set of E edges keeps
    its E - k largest |w|, k = int(f(t) E), f(t) = alpha / 2 (1 + cos(pi t / until)), and gets the k pairs of the
    largest |gradient| among all that are not kept. A just-dropped edge that is among them simply stays, with weight
    and optimizer state. New edges start at 0 with zero optimizer state.

    Differs from the paper: on a DAG (`group="graph"`) all pairs that go up in stage compete, and their gradients are
    divided by the root mean square of dZ_v over the batch; steps are counted from 1, so step 0 edits nothing.

    References
    ----------
    .. [1] Evci, Gale, Menick, Castro, Elsen: Rigging the lottery: making all tickets winners, ICML 2020,
       arXiv 1911.11134.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = RigL(model, torch.optim.Adam(model.parameters()), every=2, until=100, seed=0)
    >>> x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     model(x).square().sum().backward()
    ...     optimizer.step()
    >>> optimizer.edited, model.num_edges, [edit.step for edit in optimizer.history]
    (True, 18, [2, 2, 4])
    """

    growth = GradientGrowth()
    captures = True
    replaces_step = True
    keeps_regrown = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        every: int = 100,
        until: int | None = None,
        drop_fraction: float | Callable[[int], float] = 0.3,
        decay: Decay = "cosine",
        group: Grouping = "auto",
        average: int = 1,
        seed: Seed = None,
    ) -> None:
        super().__init__(
            model, optimizer, every=every, until=until, drop_fraction=drop_fraction, decay=decay, group=group,
            average=average, seed=seed,
        )  # fmt: skip
