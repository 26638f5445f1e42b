"""Other packages in the benchmark: the same network, left out with a reason where they do not work."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from deepgraph.cli import main
from deepgraph.demo import peers
from deepgraph.demo.benchmark import measure_densities
from deepgraph.demo.peers import PEERS, Peer, installed_peers
from deepgraph.kernels.thresholds import use_thresholds


class Stand(nn.Linear):
    """Stands for the linear layer of another package."""

    def __init__(self, into: int, out: int, sparsity: float = 0.9) -> None:
        super().__init__(into, out)
        self.sparsity, self.mask = sparsity, torch.ones(out, into, dtype=torch.bool)


def test_peers_are_measured_where_they_work_and_named_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("sparselab")
    module.SparseLinear = Stand
    monkeypatch.setitem(sys.modules, "sparselab", module)
    broken: Any = ModuleType("sparselinear")
    monkeypatch.setitem(sys.modules, "sparselinear", broken)
    versions = {"sparselab": "1.0", "sparselinear": "2.0"}
    monkeypatch.setattr(Peer, "version", lambda self: versions.get(self.name))
    found, missing = installed_peers()
    assert [peer.name for peer in found] == ["sparselab"]
    assert missing["deepstruct"] == missing["deep-rewire"] == "not installed"
    assert missing["sparselinear"].startswith("version 2.0 does not work here: AttributeError")
    result = measure_densities(
        [0.5], storages=["csr"], sizes=[4, 3, 2], batch=8, rounds=2, peers=found, left_out=missing
    )
    text = str(result)
    assert "sparselab" in text
    assert "not measured: deepstruct, not installed" in text
    assert set(result.timings.seconds) == {"dense", "dense again", "csr 0.5", "sparselab 0.5"}
    content = json.loads(json.dumps(result.to_dict()))
    assert content["left_out"]["deepstruct"] == "not installed"
    assert "sparselab 0.5" in content["times_faster_than_dense"]


def test_each_adapter_makes_a_layer_of_the_density(monkeypatch: pytest.MonkeyPatch) -> None:
    package: Any = ModuleType("any")
    package.SparseLinear = package.MaskedLinearLayer = Stand
    package.convert = lambda model, **options: options.update(model=model)
    monkeypatch.setattr(peers, "import_module", lambda name: package)
    for peer in PEERS:
        network = peer.network([10, 8, 2], 0.25)
        assert network(torch.zeros(3, 10)).shape == (3, 2)
        first: Any = network[0]
        if peer.name.startswith("sparse"):
            assert first.sparsity == 0.75
        if peer.name == "deepstruct":
            assert int(first.mask.sum()) == 20


def test_the_command_calibrates(tmp_path: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepgraph.demo import calibration

    monkeypatch.setattr(calibration, "_layers", lambda *arguments, **options: 0.25)
    monkeypatch.setattr(calibration, "_windows", lambda *arguments: 0.125)
    before = use_thresholds(None)
    try:
        path = tmp_path / "mine.json"
        assert main(["benchmark", "--calibrate", str(path)]) == 0
        assert "torch 25 %" in capsys.readouterr().out
        assert main(["benchmark", "--calibrate", str(path), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["csr_up_to"] == json.loads(path.read_text())["csr_up_to"]
        assert main(["benchmark", "--calibrate", str(tmp_path / "none" / "a.json")]) == 1
        assert "No such file" in capsys.readouterr().err
    finally:
        use_thresholds(before)
