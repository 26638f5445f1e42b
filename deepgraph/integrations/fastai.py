"""fastsparse for fastai: its names, and `DynamicSparseTrainingCallback`, which rewires while a `Learner` trains.

    from fastai.vision.all import *
    from deepgraph.integrations.fastai import *

All names but the callback work without fastai, in any loop of PyTorch; `deepgraph.compat.fastsparse` documents them.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from deepgraph.compat import fastsparse as _names
from deepgraph.compat.fastsparse import *  # noqa: F403
from deepgraph.compat.fastsparse import RigL_presets, SET_presets, SNFS_presets, weight_magnitude
from deepgraph.compat.sparsity import gradient_magnitude
from deepgraph.errors import ArgumentError, MissingDependencyError
from deepgraph.integrations.fastai_scores import Redistribute, Score, ScoredRewirer
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.rewire.rigl import RigL
from deepgraph.rewire.set import SET
from deepgraph.rewire.snfs import SNFS
from deepgraph.sparse.randomness import Seed

_CALLBACK = "DynamicSparseTrainingCallback"

# Star imports are for everyone: without fastai they leave the callback out, and only asking for it is an error.
__all__ = [*_names.__all__, "DynamicSparseTraining", "FastaiOptimizer"] + [_CALLBACK] * (
    find_spec("fastai") is not None
)

# After gradient accumulation, scaling and clipping, which also act between backward and step.
ORDER = 90


class FastaiOptimizer(torch.optim.Optimizer):
    """fastai's own optimizer as one of torch's, so that a rewirer can wrap it; groups and state are shared.

    Parameters
    ----------
    opt : fastai.optimizer.Optimizer

    Notes
    -----
    Learning rates stay where fastai's schedules set them, in `opt.hypers`; the groups here hold parameters only.
    """

    def __init__(self, opt: Any) -> None:
        self.opt = opt
        super().__init__([{"params": list(group)} for group in opt.param_lists], {})

    @property
    def state(self) -> Any:
        """What the optimizer knows of each parameter; read from fastai's, which may replace it."""
        return self.opt.state

    @state.setter
    def state(self, state: Any) -> None:
        # torch's base class sets an empty one; fastai's stays.
        return

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step fastai's optimizer."""
        self.opt.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set gradients to zero, as fastai does."""
        self.opt.zero_grad()


class DynamicSparseTraining:
    """What `DynamicSparseTrainingCallback` does at the events of a fastai `Learner`; that is this and fastai's base.

    Parameters
    ----------
    batches_per_update : int, optional
        Optimizer steps between edits; default those of an epoch. Batches whose gradients are accumulated are one step.
    initial_drop_grow_pct : float
        Share of the weights that the first edit replaces, in (0, 1]; it falls to 0 by a cosine.
    stop_pct : float
        Part of the training after which nothing is edited, in (0, 1].
    keep_score_f, grow_score_f, redistribute_f : callable
        Which weights stay, which come, and how many of them each weight gets. Those of `SET_presets`, `SNFS_presets`
        and `RigL_presets` are the algorithms `deepgraph.SET`, `SNFS` and `RigL`; any others, `ScoredRewirer`.
    seed : int, Generator or None

    Attributes
    ----------
    rewirer : Rewirer or None
        That of the present, or last, training: `rewirer.history` and `rewirer.log` say what was edited.

    Raises
    ------
    ArgumentError
        If a share is out of range; when training begins, if the model has no sparse weights.

    Notes
    -----
    fastsparse gives kept weights a momentum of zero and leaves that of dropped ones to grown ones; here kept weights
    keep their state and grown ones start with none. Gradients are those of this step, scaled and accumulated as
    fastai does it. `lr_find` edits nothing.
    """

    learn: Any
    order = ORDER

    def __init__(
        self,
        batches_per_update: int | None = None,
        initial_drop_grow_pct: float = 0.3,
        stop_pct: float = 0.75,
        keep_score_f: Score = weight_magnitude,
        grow_score_f: Score = gradient_magnitude,
        redistribute_f: Redistribute | None = None,
        seed: Seed = None,
    ) -> None:
        super().__init__()
        for name, share in (("initial_drop_grow_pct", initial_drop_grow_pct), ("stop_pct", stop_pct)):
            if not 0 < share <= 1:
                raise ArgumentError(f"{name}: expected a share in (0, 1], got {share!r}")
        self.batches_per_update, self.seed = batches_per_update, seed
        self.initial_drop_grow_pct, self.stop_pct = float(initial_drop_grow_pct), float(stop_pct)
        self.keep_score_f, self.grow_score_f, self.redistribute_f = keep_score_f, grow_score_f, redistribute_f
        self.rewirer: Rewirer | None = None
        self._begins = False

    # -- events -----------------------------------------------------------------------------------------------------

    def before_fit(self) -> None:
        """Note that a training may begin: fastai announces validations and predictions alike."""
        self._begins = not (hasattr(self.learn, "lr_finder") or hasattr(self.learn, "gather_preds"))

    def before_train(self) -> None:
        """Wrap the learner's optimizer for the training that begins."""
        if not self._begins:
            if hasattr(self.learn, "lr_finder"):
                self.rewirer = None
            return
        learn, self._begins = self.learn, False
        steps = _steps_of_an_epoch(learn)
        every = steps if self.batches_per_update is None else self.batches_per_update
        until = max(1, int(self.stop_pct * learn.n_epoch * steps))
        inner = getattr(learn.opt, "opt", learn.opt)
        optimizer = inner if isinstance(inner, torch.optim.Optimizer) else FastaiOptimizer(learn.opt)
        self.rewirer = self._made(learn.model, optimizer, every, until)

    def before_step(self) -> None:
        """Let the rewirer step, or edit, in place of the optimizer."""
        if self.rewirer is not None and self.learn.training:
            from fastai.callback.core import CancelStepException

            self.rewirer.step()
            raise CancelStepException

    def after_cancel_step(self) -> None:
        """Forget the gradients of absent weights, also those of a step that loss scaling skipped."""
        if self.rewirer is not None:
            self.rewirer.zero_grad()

    def _made(self, model: nn.Module, optimizer: torch.optim.Optimizer, every: int, until: int) -> Rewirer:
        asked = (self.keep_score_f, self.grow_score_f, self.redistribute_f)
        options: dict[str, Any] = {"every": every, "until": until, "drop_fraction": self.initial_drop_grow_pct,
                                   "decay": "cosine", "seed": self.seed}  # fmt: skip
        if asked == _functions(SET_presets):
            return SET(model, optimizer, by="magnitude", **options)
        if asked == _functions(SNFS_presets):
            return SNFS(model, optimizer, **options)
        if asked == _functions(RigL_presets):
            return RigL(model, optimizer, **options)
        keep, grow, redistribute = asked
        return ScoredRewirer(
            model, optimizer, keep_score_f=keep, grow_score_f=grow, redistribute_f=redistribute, **options
        )

    def __getstate__(self) -> dict[str, Any]:
        # A learner that is exported takes its callbacks along, but not the optimizer of the training.
        return {**self.__dict__, "rewirer": None}


def _steps_of_an_epoch(learn: Any) -> int:
    """Return how often the optimizer steps in an epoch: batches, or fewer where gradients are accumulated."""
    batches = len(learn.dls.train)
    for callback in learn.cbs:
        if hasattr(callback, "n_acc"):
            return max(1, batches * int(learn.dls.train.bs) // int(callback.n_acc))
    return batches


def _functions(presets: dict[str, Any]) -> tuple[Any, Any, Any]:
    return presets["keep_score_f"], presets["grow_score_f"], presets["redistribute_f"]


@cache
def _callback() -> type[DynamicSparseTraining]:
    """Return the callback's class, made with the first use, since its base is fastai's."""
    try:
        from fastai.callback.core import Callback
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(
            f"DynamicSparseTrainingCallback: expected fastai, got {error}; pip install fastai, with a torchvision of "
            "the installed torch, or use deepgraph.RigL in a loop of your own"
        ) from error
    body = {"__module__": __name__, "__doc__": DynamicSparseTraining.__doc__, "order": ORDER}
    return type(_CALLBACK, (DynamicSparseTraining, Callback), body)


def __getattr__(name: str) -> Any:
    if name == _CALLBACK:
        return _callback()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
