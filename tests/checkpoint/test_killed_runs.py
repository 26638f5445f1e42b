"""A run that is killed again and again, also while it saves, ends as one that never was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import resumable_run


def forked_run(path: Path, pipe: Connection) -> None:
    """Train in a forked process and send what it says."""
    torch.set_num_threads(1)
    pipe.send(resumable_run.train(path, say=pipe.send))


def test_a_run_killed_three_times_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    path, context = tmp_path / "run.dg", torch.multiprocessing.get_context("fork")
    state = torch.get_rng_state()
    expected = resumable_run.train()
    moments = ["saved 6", "saving 22", "saving 44"]
    for moment in [*moments, ""]:
        here, there = context.Pipe(duplex=False)
        child = context.Process(target=forked_run, args=(path, there))
        child.start()
        there.close()
        found = here.recv()
        while isinstance(found, str) and found != moment:
            found = here.recv()
        if moment:
            child.kill()
        child.join()
        assert child.exitcode == (-signal.SIGKILL if moment else 0)
    assert found == expected
    torch.set_rng_state(state)
    drafts = [file for file in tmp_path.iterdir() if file != path]
    assert len(drafts) <= sum(moment.startswith("saving") for moment in moments)


def lines_until_killed(path: Path, rng: random.Random, in_save: bool) -> list[str]:
    """Start a run, kill it at a random moment, or at one within a save, and return the lines it wrote."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    command = [sys.executable, "-W", "ignore", str(Path(resumable_run.__file__)), str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    lines = [child.stdout.readline()]
    if in_save:
        while lines[-1].startswith("saved") or rng.random() < 0.4:
            lines.append(child.stdout.readline())
            if not lines[-1]:
                break
        # A save takes some milliseconds; this moment is somewhere in them.
        time.sleep(rng.uniform(0, 0.004))
    else:
        time.sleep(rng.uniform(0, 0.06))
    os.kill(child.pid, signal.SIGKILL)
    lines += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    return [line.strip() for line in lines if line.strip()]


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    path, rng = tmp_path / "run.dg", random.Random(0)
    state = torch.get_rng_state()
    expected = resumable_run.train()
    torch.set_rng_state(state)
    within, kills = 0, 0
    while kills < 20:
        lines = lines_until_killed(path, rng, in_save=kills % 2 == 0)
        kills += 1
        within += lines[-1].startswith("saving")
        if any(line.startswith("weights") for line in lines):
            # It came to its end before it was killed: from the beginning, for the kills that are left.
            assert dict(line.split() for line in lines[-4:]) == expected
            path.unlink()
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(resumable_run.__file__)), str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert dict(line.split() for line in done.stdout.splitlines()[-4:]) == expected
    assert within >= 5
