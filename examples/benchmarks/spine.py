"""Two figures that the library promises, measured here and now: `python examples/benchmarks/spine.py [--quick]`.

A training step of the FFN 784-1000-1000-1000-10 at 5 % density is at least 6 times as fast as dense PyTorch, and a
graph of 10,000 layers is compiled within 2 s and trains a step of 128 samples within 30 ms; all on one thread. Exit
status 1 if a figure is missed. `--quick` measures smaller networks, to see that everything runs, and promises nothing.
"""

from __future__ import annotations

import argparse
import sys

from deepgraph.demo.benchmark import measure_chain, measure_densities


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller networks and no promise")
    quick = parser.parse_args().quick

    sizes = (784, 300, 300, 10) if quick else (784, 1000, 1000, 1000, 10)
    ffn = measure_densities([0.05], storages=["csr"], sizes=sizes, rounds=5 if quick else 25)
    faster = ffn.timings.ratio("dense", "csr 0.05")
    same = ffn.timings.ratio("dense", "dense again")
    chain = measure_chain(1000 if quick else 10_000, rounds=5 if quick else 25)
    step = chain.timings.milliseconds("chain")

    name = "-".join(map(str, sizes))
    figures = [
        (f"FFN {name} at 5 % density: {faster} as fast as dense", "at least 6x", faster.value >= 6),
        (f"{chain.layers:,} layers, {chain.edges:,} edges: compiled in {chain.compile_seconds:.3f} s", "under 2 s",
         chain.compile_seconds < 2),
        (f"{chain.layers:,} layers, {chain.edges:,} edges: training step in {step:.1f} ms", "under 30 ms", step < 30),
    ]  # fmt: skip
    for text, wanted, met in figures:
        print(f"{'quick' if quick else 'pass' if met else 'FAIL'}  {text} (wanted: {wanted})")
    print(f"batch {ffn.batch}, one thread, medians of interleaved rounds and quartiles; dense against itself: {same}")
    return 0 if quick or all(met for *_, met in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
