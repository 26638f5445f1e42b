"""The parts of the demo: networks with as many edges, training, checks that can fail, files that appear whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepgraph.dataset import fashion_mnist_sample
from deepgraph.demo import summary
from deepgraph.demo.accuracy import Accuracy
from deepgraph.demo.benchmark import Densities
from deepgraph.demo.checks import differences, extract_and_check
from deepgraph.demo.methods import dense_ffn, methods, small_world, small_world_dan
from deepgraph.demo.pictures import save_picture
from deepgraph.demo.result import Result, write_json
from deepgraph.demo.settings import FULL, QUICK, Settings
from deepgraph.demo.timing import Timings
from deepgraph.demo.training import Data, Run, train
from deepgraph.errors import ArgumentError, StructureError
from deepgraph.sparse import MaskedDeepDAN

SMALL = replace(QUICK, hidden=(40, 30), neurons=60, neighbours=6, epochs=2, images=200, density=0.1)


@pytest.fixture(scope="module")
def data() -> Data:
    return Data.of(fashion_mnist_sample(), SMALL.images)


def test_full_settings_give_all_sparse_networks_as_many_edges() -> None:
    for method in methods(784, 10, FULL, 40, seed=1)[1:]:
        model, _ = method.build()
        assert model.num_edges == 139_700


def test_a_method_builds_the_same_model_twice_and_leaves_global_random_state(global_rng_untouched: None) -> None:
    for method in methods(784, 10, SMALL, 4, seed=0):
        first, second = (method.build()[0].state_dict() for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_budget_that_no_stem_makes_up() -> None:
    structure = small_world(SMALL, 0)
    for budget in (10, 10_000_000):
        with pytest.raises(ArgumentError, match=f"num_edges: expected what structure .* can make up, got {budget:,}"):
            small_world_dan(784, 10, structure, budget, seed=0)


def test_settings() -> None:
    assert QUICK.with_epochs(7).epochs == 7
    assert json.loads(json.dumps(FULL.to_dict()))["hidden"] == [1000, 1000, 1000]
    with pytest.raises(ArgumentError, match="epochs must be at least 1, got 0"):
        Settings(epochs=0)


def test_all_methods_see_the_same_batches(data: Data) -> None:
    seen: list[list[int]] = []

    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = dense_ffn(784, 10, (4,), seed=0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen[-1].append(hash(x.numpy().tobytes()))
            return self.inner(x)  # type: ignore[no-any-return]

    for _ in range(2):
        seen.append([])
        model = Watched()
        method = replace(
            methods(784, 10, SMALL, 4, 0)[0], build=lambda m=model: (m, torch.optim.SGD(m.parameters(), lr=0.1))
        )
        train(method, data, SMALL, seed=3)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 8


def test_training_keeps_its_record_after_every_epoch(data: Data) -> None:
    kept: list[int] = []
    run = train(methods(784, 10, SMALL, 4, 0)[1], data, SMALL, 0, lambda run: kept.append(len(run.accuracies)))
    assert kept == [1, 2]
    assert run.steps == [4, 8]
    assert run.losses[1] < run.losses[0]
    assert run.accuracy.total == 100


def test_a_changed_graph_is_noticed(data: Data) -> None:
    model, _ = methods(784, 10, SMALL, 4, 0)[4].build()
    assert isinstance(model, MaskedDeepDAN)
    extraction = extract_and_check(model, data.x_test)
    assert extraction.passed
    assert "equal to generate_structure(True, True)" in str(extraction)
    other = extraction.graph.copy()
    weight = np.array(other.column("weight"))
    weight[0] += 1
    other.set_column("weight", weight)
    other.set_node_column("bias", np.arange(len(other), dtype=float))
    wrong = [name for name, same in differences(extraction.graph, other).items() if not same]
    assert wrong == ["weights", "biases"]
    failed = replace(extraction, equal=differences(extraction.graph, other))
    assert not failed.passed
    assert "weights, biases DIFFER" in str(failed)
    assert not replace(extraction, error=0.1).passed


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": 1}

    def broken(ax: object) -> None:
        raise RuntimeError("no picture")

    with pytest.raises(RuntimeError, match="no picture"):
        save_picture(tmp_path / "a.png", (2, 1), broken)
    assert not (tmp_path / "a.png").exists()


def result_of(rights: dict[str, int]) -> Result:
    """Return a result with made-up accuracies on 1,000 images."""
    result = Result(SMALL, 0, fashion_mnist_sample())
    for method in methods(784, 10, SMALL, 4, 0):
        if method.key in rights:
            model, _ = method.build()
            result.runs[method.key] = Run(method, model, [8], [Accuracy(rights[method.key], 1000)], [1.0])
    return result


def test_notes_name_only_differences_outside_the_intervals() -> None:
    near = " ".join(summary.notes(result_of({"ffn_static": 820, "dan_static": 815})).split())
    assert "All intervals overlap here: nothing shows one method to be more accurate than another." in near
    assert "DAN against FFN with as many edges, in points of accuracy: static -0.5." in near
    far = " ".join(summary.notes(result_of({"dense": 900, "ffn_static": 800})).split())
    assert "FFN, dense (nn.Linear) is above FFN, static sparse" in far
    assert "DAN against" not in far


def test_an_unfinished_result_is_plain_data() -> None:
    content = json.loads(json.dumps(result_of({"dense": 900}).to_dict()))
    assert not content["complete"]
    assert content["methods"]["dense"]["step_ms"] is None
    assert content["report"] is None


def test_the_benchmark_says_where_sparse_loses() -> None:
    def measured(sparse: float) -> Densities:
        seconds = {"dense": np.ones(3), "dense again": np.ones(3), "csr 0.2": np.full(3, sparse)}
        return Densities(Timings(seconds), (0.2,), ("csr",), (4, 3, 2), 8, 1)

    assert measured(2.0).verdict() == "no faster than dense PyTorch, sparse LOSES: csr at 20 %"
    assert measured(0.5).verdict() == "sparse is faster than dense PyTorch at every density measured here"
    assert "0.50" in str(measured(2.0))


def test_a_dense_model_has_no_graph() -> None:
    with pytest.raises(StructureError, match=r"expected a model with a graph, got FFN, dense \(nn.Linear\)"):
        _ = result_of({"dense": 900}).runs["dense"].sparse_model
