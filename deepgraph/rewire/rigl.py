"""`RigL`: the rigged lottery."""

from __future__ import annotations

from deepgraph.rewire.growth import GradientGrowth
from deepgraph.rewire.rewirer import Rewirer

__all__ = ["RigL"]


class RigL(Rewirer):
    """The rigged lottery: drop the smallest |w|, grow where the gradient of the loss is largest.

    An edit takes the place of the optimizer's step. The gradients are those of the backwards before it: `step` listens
    one step ahead, and gradients of absent edges exist only as factors, never as a dense matrix.

    Parameters
    ----------
    model, optimizer
        As for `Rewirer`.
    **options
        Those of `Rewirer`; `drop_fraction` is the paper's alpha, 0.3, `decay` "cosine", and `until` its T_end, at
        which the share reaches 0. The paper edits every 100 steps, until three quarters of the training.

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
    divided by the root mean square of dZ_v over the batch; steps are counted from 1, so the first edit is that of step
    `every`. The authors' code edits once before its first step, which leaves fewer hidden neurons with edges at such
    low densities; `examples/papers/r1_rigl_lenet.py` trains both.

    References
    ----------
    .. [1] Evci, Gale, Menick, Castro, Elsen: Rigging the lottery: making all tickets winners, ICML 2020,
       arXiv 1911.11134.

    Examples
    --------
    >>> import torch, deepgraph as dg
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
    default_decay = "cosine"
