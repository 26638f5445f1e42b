"""A save is on the disk before it takes the name of the old file, and its name before `save` returns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from deepgraph.checkpoint import load, save


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be opened elsewhere")
def test_contents_then_name_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, events = tmp_path / "run.dg", list[str]()
    save({"step": 1}, target)
    sync, move = os.fsync, os.replace

    def synced(handle: int) -> None:
        folder = os.fstat(handle).st_ino == tmp_path.stat().st_ino
        events.append("folder" if folder else f"contents of {os.fstat(handle).st_size > 4000}")
        assert folder or load(target) == {"step": 1}
        sync(handle)

    def moved(*paths: Any) -> None:
        events.append("name")
        move(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    save({"step": torch.arange(1000)}, target)
    assert events == ["contents of True", "name", "folder"]
    assert load(target)["step"].tolist() == list(range(1000))
