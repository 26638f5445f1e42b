"""The commands beside the texts run, on the bundled sample and small; what they print has its parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def printed(folder: Path, script: str, *arguments: str, launcher: tuple[str, ...] = ()) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, *launcher, str(ROOT / "examples" / script), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_vgg11_report_has_a_row_for_each_storage_and_density(tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("memory in use is read from /proc, which Linux has")
    out = printed(tmp_path, "benchmarks/vgg11.py", "--quick", "--data-path", str(tmp_path))
    assert "Fashion-MNIST sample" in out
    assert re.findall(r"^\| (1|0\.5) \| (\w+) ", out, re.MULTILINE) == [
        (density, storage) for density in ("1", "0.5") for storage in ("dense", "coo", "csr")
    ]


@pytest.mark.slow
def test_randomly_wired_network_learns(tmp_path: Path) -> None:
    out = printed(tmp_path, "rand_wire.py", "--data-path", str(tmp_path), "--nodes", "8", "--epochs", "2")
    assert "8 cells" in out
    assert float(re.findall(r"epoch 2: test accuracy ([\d.]+) %", out)[0]) > 30


@pytest.mark.slow
def test_round_trip_ends_in_a_paired_comparison(tmp_path: Path) -> None:
    small = ["--graphs", "12", "--steps", "20", "--epochs", "10", "--seeds", "3"]
    out = printed(tmp_path, "gnn_round_trip.py", *small)
    assert re.search(r"rank correlation on 3 graphs that the reader has not seen: -?[\d.]+|nan", out)
    assert (
        len(re.findall(r"^proposed - .*: (?:the proposed one wins|nobody wins|the proposed one loses)$", out, re.M))
        == 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_dynamic_sparse_training_in_plain_loops(tmp_path: Path, processes: int) -> None:
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2") if processes > 1 else ()
    out = printed(tmp_path, "dynamic_sparse.py", "--steps", "60", "--every", "10", launcher=launcher)
    found = re.search(
        r"RigL, (\d) process(?:es)?: test accuracy [\d.]+ %, 90\.0 % of the weights are off, ([\d,]+)", out
    )
    assert found is not None, out
    assert int(found[1]) == processes
    assert int(found[2].replace(",", "")) > 0


@pytest.mark.slow
def test_supermask_saves_its_best_and_stops_early(tmp_path: Path) -> None:
    options = ["--network", "LeNet", "--strategy", "edge-popup", "--lr", "0.1", "--samples", "200", "--patience", "2"]
    out = printed(tmp_path, "supermask.py", *options, "--epochs", "20", "--checkpoint", str(tmp_path / "best.pt"))
    assert '"validation":' in out
    assert (tmp_path / "best.pt").stat().st_size > 0
