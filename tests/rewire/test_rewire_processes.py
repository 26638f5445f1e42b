"""Several processes: identical edges at every step, and clear errors where one is different, dead or stuck."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ranks_run
import torch
from rewire_models import OPTIMIZERS, make_rewirer, train
from torch.nn.parallel import DistributedDataParallel

from deepgraph.errors import ArgumentError, StructureError
from deepgraph.rewire import RigL
from deepgraph.sparse import MaskedDeepFFN, edge_values

DRAWING = ["rigl", "rigl-graph", "rigl-sparsified", "set", "snfs", "chts", "deepr", "softdeepr"]
"""What differs between processes that do not agree: by their gradients or their random numbers."""


def start(rank: int, size: int, folder: str, how: str, names: list[str]) -> None:
    """Run in a forked process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    ranks_run.run(rank, size, folder, how, names)


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Load here what every forked process would load by itself: compiled loops, and what torch imports on first use."""

    model = ranks_run.model_of("rigl")
    train(model, make_rewirer("rigl", model), 3)


def forked(
    folder: Path, size: int = 2, how: str = "", names: list[str] = ranks_run.NAMES, run: Any = start
) -> list[Any]:
    """Return what each process wrote, None where it wrote nothing; kill all that have not ended after two minutes."""
    context = torch.multiprocessing.get_context("fork")
    made = [context.Process(target=run, args=(rank, size, str(folder), how, names)) for rank in range(size)]
    for process in made:
        process.start()
    for process in made[: size - 1] if how == "stops" else made:
        process.join(120)
    for process in made:
        process.kill()
        process.join()
    files = [folder / f"{rank}.json" for rank in range(size)]
    return [json.loads(file.read_text()) if file.exists() else None for file in files]


def test_two_processes_hold_the_same_edges_at_every_step(tmp_path: Path) -> None:
    one, two = forked(tmp_path)
    assert one == two
    assert sorted(one) == sorted(ranks_run.NAMES)
    for name, digests in one.items():
        assert len(digests) == ranks_run.STEPS
        assert len(set(digests)) > 3, name


def test_without_synchronisation_they_do_not(tmp_path: Path) -> None:
    """The test above can fail: with sums and seeds switched off the edges part."""
    one, two = forked(tmp_path, how="off", names=DRAWING)
    for name in DRAWING:
        assert one[name] != two[name], name


def test_a_process_that_dies_is_a_clear_error(tmp_path: Path) -> None:
    one, two = forked(tmp_path, how="dies", names=["rigl"])
    assert two is None
    assert one["error"].startswith(
        "EditRefusedError: rank 0: expected all 2 processes at this edit, got no answer from"
    )
    assert "one has died or waits elsewhere, so end all and go on from the last checkpoint" in one["error"]


@pytest.mark.slow
def test_a_process_that_stops_is_a_clear_error(tmp_path: Path) -> None:
    one, two = forked(tmp_path, how="stops", names=["set"])
    assert two is None
    assert one["error"].startswith(
        "EditRefusedError: rank 0: expected all 2 processes at this edit, got no answer from"
    )


def disagree(rank: int, size: int, folder: str, how: str, names: list[str]) -> None:
    """Make models, rewirers and edits that differ between processes, and write what is said."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    found = {}
    for case in ("model", "options", "frozen", "edit"):
        model = MaskedDeepFFN(6, 4, [7], density=0.4, seed=rank if case == "model" else 0, dtype=torch.float64)
        # Weights of other edges, which DistributedDataParallel cannot see.
        wrapped = DistributedDataParallel(model)
        edge_values(model)[0].parameter.requires_grad_(case != "frozen" or rank == 0)
        try:
            optimizer = RigL(wrapped, OPTIMIZERS["sgd"](model), every=2 + rank * (case == "options"), until=40)
            if case == "edit" and rank == 1:
                src, dst = model.edge_sets[0].pairs()
                model.edge_sets[0].edit(drop=(src[:1], dst[:1]))
            optimizer.ranks.check(model.edge_sets)
        except (ArgumentError, StructureError) as error:
            found[case] = str(error)
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_processes_that_differ_are_told_so(tmp_path: Path) -> None:
    for rank, found in enumerate(forked(tmp_path, run=disagree)):
        for case in ("model", "edit"):
            assert found[case].startswith(f"rank {rank}: expected the same edges in all 2 processes, got different")
        for case in ("options", "frozen"):
            assert found[case].startswith(
                f"rank {rank}: expected the same rewirer in all 2 processes, got other options"
            )


def torchrun(folder: Path, size: int, how: str = "") -> subprocess.CompletedProcess[str]:
    script = str(Path(ranks_run.__file__))
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}",
         script, str(folder), *([how] if how else [])],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_torchrun(tmp_path: Path, size: int) -> None:
    done = torchrun(tmp_path, size)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(size)]
    assert all(one == found[0] for one in found)
    assert sorted(found[0]) == sorted(ranks_run.NAMES)


@pytest.mark.slow
def test_torchrun_without_synchronisation(tmp_path: Path) -> None:
    assert torchrun(tmp_path, 3, "off").returncode == 0
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert all(found[0][name] != one[name] for one in found[1:] for name in DRAWING)


@pytest.mark.slow
def test_torchrun_ends_when_a_process_dies(tmp_path: Path) -> None:
    assert torchrun(tmp_path, 3, "dies").returncode != 0
    assert not (tmp_path / "2.json").exists()
