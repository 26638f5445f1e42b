"""What training does to connectivity: LeNet 300-100 on MNIST, static, SET, RigL and DEEPR, against two null models.

    python examples/papers/connectivity.py --full             train what is missing, measure, print the table
    python examples/papers/connectivity.py --short            the bundled sample and two epochs, to see that it runs
    python examples/papers/connectivity.py                    print the table of the results that are there

`static`, `SET` and `RigL` keep 1 %, 10.9 % and 100 % of the three layers (2.49 % in all) and train 20 epochs: batch
100, SGD with Nesterov momentum .9, learning rate .2 divided by 3 at epochs 7.5 and 9.5, L2 1e-4, an edit every 100
steps until step 5,000, drop share .3 with cosine decay, inputs in [0, 1], weights uniform by Glorot's rule for the
dense layer, as in RigL's code: larger ones keep their edges longer, and all effects are weaker. `DEEPR` keeps 1 %, 3 %
and 30 % (1.33 %, so not to be read across) and trains 10 epochs without biases: batch 10, learning rate .5, times .8 an
epoch, l1 1e-5, noise 1e-5 times the learning rate. A run that is done is not trained again: its graph lies in --runs.

The output layer is left out of all but the live share; sigma is undirected, on the largest component.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import deepgraph as dg
from deepgraph.analysis.parallel import write_whole

RESULTS = Path(__file__).parent / "results" / "connectivity.json"
CACHE = Path(os.environ.get("DEEPGRAPH_CACHE", Path.home() / ".cache" / "deepgraph"))
METHODS = ("static", "SET", "RigL", "DEEPR")
NULLS = 10
MEASURES = ["sigma_er", "sigma_degree", "assortativity", "modularity"]
ROWS = {
    "accuracy": "test accuracy, %",
    "sigma_er": "sigma against ER",
    "sigma_degree": "sigma against degree-preserving",
    "gini": "Gini of fan-in, layer 1",
    "max_fan_in": "largest fan-in, layer 1",
    "live": "live share of hidden units",
    "assortativity": "assortativity",
    "ramanujan": "Ramanujan gap, layer 1",
    "modularity": "modularity",
    "modularity_null": "modularity, degree-preserving null",
}


def build(method: str, seed: int, steps: int) -> tuple[dg.MaskedDeepFFN, torch.optim.Optimizer]:
    """Return a new model and its optimizer; `steps` is the length of the training."""
    draw = torch.Generator().manual_seed(seed)
    if method == "DEEPR":
        model = dg.MaskedDeepFFN((28, 28), 10, [300, 100], density=[0.01, 0.03, 0.3], bias=False, seed=seed)
        for values in dg.sparse.edge_values(model):
            edges = values.edge_set
            values.set_values(torch.randn(edges.num_edges, generator=draw) / edges.num_sources**0.5)
        return model, dg.DEEPR(model, lr=0.5, l1=1e-5, seed=seed)
    model = dg.MaskedDeepFFN((28, 28), 10, [300, 100], density=[0.01, 0.109, 1.0], seed=seed)
    for values in dg.sparse.edge_values(model):
        edges = values.edge_set
        bound = (6 / (edges.num_sources + edges.num_targets)) ** 0.5
        values.set_values(bound * (2 * torch.rand(edges.num_edges, generator=draw) - 1))
    sgd = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-4)
    schedule: dict[str, Any] = {
        "every": min(100, max(1, steps // 20)),
        "until": steps * 50_000 // 120_000,
        "drop_fraction": 0.3,
        "decay": "cosine",
        "seed": seed,
    }
    if method == "static":
        return model, dg.Static(model, sgd)
    return model, dg.SET(model, sgd, by="magnitude", **schedule) if method == "SET" else dg.RigL(model, sgd, **schedule)


def train(method: str, seed: int, data: list[torch.Tensor], epochs: int) -> tuple[dg.CachedLayeredGraph, float]:
    """Return the graph after training, and the test accuracy in percent."""
    x, y, x_test, y_test = data
    batch = 10 if method == "DEEPR" else 100
    steps = epochs * (len(x) // batch)
    model, optimizer = build(method, seed, steps)
    falls = {steps * 75 // 200, steps * 95 // 200}
    order = torch.Generator().manual_seed(1000 + seed)
    rows: Iterator[torch.Tensor] = iter(())
    for step in tqdm(range(steps), desc=f"{method} {seed}", unit="step", mininterval=5, leave=False):
        if step % (len(x) // batch) == 0:
            rows = iter(torch.randperm(len(x), generator=order).split(batch))
        for group in optimizer.param_groups:
            if method == "DEEPR" and step and step % (len(x) // batch) == 0:
                group["lr"] *= 0.8
            if method != "DEEPR" and step in falls:
                group["lr"] /= 3
        chosen = next(rows)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(x_test).argmax(dim=1) == y_test).float().mean()
    live = model.graph
    graph = dg.CachedLayeredGraph.from_arrays(*live.edge_arrays(), num_nodes=len(live), weight=live.column("weight"))
    graph.set_node_column("stage", live.stage_array())
    graph.set_node_column("role", live.role_array())
    return graph, 100 * float(accuracy)


def measure(graph: dg.CachedLayeredGraph, seed: int) -> dict[str, float]:
    """Return the measures of one trained graph by the names of `ROWS`."""
    src, dst = graph.edge_arrays()
    last = graph.stage_array()[dst] == graph.stage_array().max()
    found = {"live": dg.analysis.live_share(graph)}
    graph.edit(drop=(src[last], dst[last]), reason="output layer left out")
    report = dg.analyse(graph, nulls=NULLS, seed=seed, measures=MEASURES, progress=False)
    first = dg.analysis.fan_by_stage(graph, "in")[1]
    found |= {name: float(report[name]) for name in MEASURES}
    found |= {"modularity_null": report["modularity"].nulls["degree"].mean, "gini": first.gini}
    return found | {"max_fan_in": first.maximum, "ramanujan": dg.analysis.pair_spectra(graph)[0].ramanujan}


def by_method(done: dict[str, dict[str, float]]) -> dict[str, dict[str, list[float]]]:
    """Return method -> row -> one value per seed, of results by "method seed"."""
    seeds = {method: sorted(int(name.split()[1]) for name in done if name.split()[0] == method) for method in METHODS}
    return {m: {row: [done[f"{m} {seed}"][row] for seed in seeds[m]] for row in ROWS} for m in METHODS}


def claims(values: dict[str, dict[str, list[float]]]) -> list[tuple[str, bool | None]]:
    """Return what the results must show, each with whether they do; None where a method has fewer than three seeds.

    A gap counts where it is over twice the larger of the two standard deviations.
    """
    few = [method for method in METHODS if len(values[method]["live"]) < 3]

    def above(row: str, high: str, low: str) -> tuple[str, bool | None]:
        gap = statistics.mean(values[high][row]) - statistics.mean(values[low][row])
        sd = max((statistics.stdev(values[m][row]) for m in (high, low) if len(values[m][row]) > 1), default=0.0)
        verdict = None if high in few or low in few else gap > 2 * sd
        return f"{ROWS[row]}: {high} above {low} by {gap:.2f}, standard deviation {sd:.3f}", verdict

    wanted = {
        "sigma_er": [("RigL", "DEEPR"), ("DEEPR", "SET"), ("SET", "static")],
        "gini": [("RigL", "SET"), ("RigL", "DEEPR"), ("SET", "static"), ("DEEPR", "static")],
        "live": [("SET", "RigL"), ("SET", "DEEPR")],
    }
    said = [above(row, *pair) for row, pairs in wanted.items() for pair in pairs]
    degree = [statistics.mean(values[method]["sigma_degree"]) for method in METHODS]
    text = f"sigma against degree-preserving nulls in [.95, 1.15]: {min(degree):.3f} to {max(degree):.3f}"
    return [*said, (text, None if few else 0.95 <= min(degree) <= max(degree) <= 1.15)]


def table(values: dict[str, dict[str, list[float]]]) -> str:
    """Return mean and standard deviation over seeds as a Markdown table."""
    counts = {method: len(values[method]["live"]) for method in METHODS}
    heads = [f"{method}, {count} seed{'' if count == 1 else 's'}" for method, count in counts.items()]
    lines = ["| mean (standard deviation) | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(METHODS) + 1) + "|")
    for row, text in ROWS.items():
        cells = [values[method][row] for method in METHODS]
        shown = (f"{statistics.mean(c):.2f}" + (f" ({statistics.stdev(c):.2f})" if len(c) > 1 else "") for c in cells)
        lines.append(f"| {text} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def load_data(short: bool, folder: Path) -> list[torch.Tensor]:
    """Return training and test images (N, 784) in [0, 1] and labels: MNIST, or the bundled sample."""
    split = dg.dataset.fashion_mnist_sample() if short else dg.dataset.read_idx_folder(folder)
    x, y, x_test, y_test = split.tensors()
    return [x.flatten(1), y, x_test.flatten(1), y_test]


def run(arguments: argparse.Namespace, results: Path) -> None:
    """Train and measure what is not in `results` yet."""
    data = load_data(arguments.short, arguments.data)
    done = json.loads(results.read_text()) if results.exists() else {}
    arguments.runs.mkdir(parents=True, exist_ok=True)
    for seed, method in ((s, m) for s in range(arguments.seeds) for m in arguments.methods):
        name = f"{method} {seed}"
        if name in done:
            continue
        file = arguments.runs / f"{method}-{seed}{'-short' if arguments.short else ''}.pt"
        if not file.exists():
            epochs = 2 if arguments.short else 10 if method == "DEEPR" else 20
            graph, accuracy = train(method, seed, data, epochs)
            dg.save({"graph": graph, "accuracy": accuracy}, file)
        saved = dg.load(file)
        row = {"accuracy": saved["accuracy"], **measure(saved["graph"], seed)}
        # Another call may have added runs meanwhile.
        done = (json.loads(results.read_text()) if results.exists() else {}) | {name: row}
        results.parent.mkdir(parents=True, exist_ok=True)
        write_whole(results, json.dumps(done, indent=1) + "\n")
        print(name, {key: round(value, 3) for key, value in done[name].items()}, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--full", action="store_true", help="MNIST, 10 to 20 epochs: minutes a run")
    kind.add_argument("--short", action="store_true", help="the bundled sample, 2 epochs, a promise of nothing")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=METHODS, help="which to train; several calls may run"
    )
    parser.add_argument("--data", type=Path, default=CACHE / "mnist", help="folder with the four IDX files")
    parser.add_argument(
        "--runs", type=Path, default=CACHE / "runs" / "connectivity", help="where trained graphs are kept"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = arguments.runs / "short.json" if arguments.short else RESULTS
    if arguments.full or arguments.short:
        run(arguments, results)
    done = json.loads(results.read_text())
    values = by_method(done)
    if not all(rows["live"] for rows in values.values()):
        print("the table needs a run of each of", *METHODS)
        return 1
    print(table(values))
    said = claims(values)
    for text, met in said:
        word = "short" if arguments.short else "too few seeds" if met is None else "pass" if met else "FAIL"
        print(f"{word}: {text}")
    return 0 if arguments.short or all(met for _, met in said) else 1


if __name__ == "__main__":
    raise SystemExit(main())
