"""Rewirers and `EdgeMonitor` in Lightning's own loop; without Lightning, the message that says so."""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import deepgraph as dg
from deepgraph.errors import MissingDependencyError
from deepgraph.integrations import lightning as ours

INSTALLED = importlib.util.find_spec("lightning") is not None
needed = pytest.mark.skipif(not INSTALLED, reason="lightning is not installed")


@pytest.mark.skipif(INSTALLED, reason="lightning is installed")
def test_without_lightning_the_message_says_what_to_install() -> None:
    with pytest.raises(MissingDependencyError, match=r"expected the package lightning, .* run pip install lightning"):
        ours.EdgeMonitor  # noqa: B018


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Monitor'"):
        ours.Monitor  # noqa: B018


def test_facts_of_a_model() -> None:
    assert ours.edge_facts(nn.Linear(2, 2), []) == {}
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    optimizer = dg.SET(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1, seed=0)
    model(torch.ones(5, 6)).sum().backward()
    optimizer.step()
    facts = ours.edge_facts(model, [optimizer, torch.optim.SGD(model.parameters(), lr=0.1)])
    assert facts["dropped"] == facts["grown"] == optimizer.log[0]["dropped"] > 0
    assert facts["exploration"] > facts["density"] == 0.25


def data(seed: int = 0) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 6, generator=generator)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=16)


def module_of(kind: str) -> Any:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = dg.MaskedDeepFFN(6, 2, [12], density=0.3, seed=0)

        def training_step(self, batch: Any, index: int) -> Any:
            x, y = batch
            loss = nn.functional.cross_entropy(self.net(x), y)
            self.log("loss", loss, on_epoch=True, on_step=False)
            return loss

        def configure_optimizers(self) -> Any:
            if kind == "deepr":
                return dg.DEEPR(self, lr=0.1, seed=0)
            inner = torch.optim.Adam(self.parameters(), lr=0.02)
            return {"rigl": dg.RigL, "set": dg.SET, "snfs": dg.SNFS}[kind](self, inner, every=3, until=100, seed=0)

    return Module()


def trainer_of(folder: Path, epochs: int, monitor: Any, **options: Any) -> Any:
    import lightning

    return lightning.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, callbacks=[monitor], **options,
    )  # fmt: skip


def plain(kind: str, epochs: int) -> Any:
    """Return a module trained by an ordinary loop."""
    module = module_of(kind)
    optimizer = module.configure_optimizers()
    for _ in range(epochs):
        for x, y in data():
            optimizer.zero_grad()
            nn.functional.cross_entropy(module.net(x), y).backward()
            optimizer.step()
    return module


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Lightning warns of workers, of small data and of deprecated calls of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@needed
@pytest.mark.parametrize("kind", ["rigl", "set", "snfs", "deepr"])
def test_lightning_trains_as_the_ordinary_loop(tmp_path: Path, kind: str) -> None:
    module, monitor = module_of(kind), ours.EdgeMonitor()
    trainer_of(tmp_path, 3, monitor, enable_checkpointing=False).fit(module, data())
    expected = plain(kind, 3)
    for mine, theirs in zip(module.net.edge_sets, expected.net.edge_sets, strict=True):
        assert mine.digest() == theirs.digest()
    history = monitor.history
    assert (len(history), history.ended) == (3, "finished")
    assert history["edges"].tolist() == [module.net.num_edges] * 3
    assert history["loss"][-1] < history["loss"][0]
    assert history["grown"][-1] == history["dropped"][-1]
    assert dg.table({"one": [history], "two": [history]}, "loss").rows[0]["n"] == 1


@needed
def test_lightning_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    whole = module_of("rigl")
    trainer_of(tmp_path / "a", 4, ours.EdgeMonitor(), enable_checkpointing=False).fit(whole, data())
    first, monitor = module_of("rigl"), ours.EdgeMonitor("net/")
    trainer = trainer_of(tmp_path / "b", 2, monitor)
    trainer.fit(first, data())
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    again, resumed = module_of("rigl"), ours.EdgeMonitor("net/")
    trainer_of(tmp_path / "c", 4, resumed).fit(again, data(), ckpt_path=tmp_path / "run.ckpt")
    for mine, theirs in zip(again.net.edge_sets, whole.net.edge_sets, strict=True):
        assert mine.digest() == theirs.digest()
    assert resumed.history["epoch"].tolist() == [1, 2, 3, 4]
    assert "net/edges" in resumed.history.columns


@needed
def test_the_callback_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(ours.EdgeMonitor("a"))).prefix == "a"
