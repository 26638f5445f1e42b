"""Writes RESULTS.md, and the table in the README, from the results files: `python examples/papers/table.py [--check]`.

`--check` writes nothing and ends with status 1 where one of the two is not what the results files say.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from experiment import RESULTS, Experiment, Results

HERE = Path(__file__).parent
TABLE = HERE / "RESULTS.md"
README = HERE.parents[1] / "README.md"
MARKS = "<!-- papers -->", "<!-- end of papers -->"

HEAD = """# Papers, trained again

Written by `python examples/papers/table.py` from the files in `results/`, which the commands below write. A target is
*met* where the mean over the seeds lies within the tolerance of the published number; a comparison is *met* where the
mean paired difference is as wanted and its 95 % interval lies above 0, and *open* with fewer than 5 seeds. Accuracies
and errors are of the test set, after the last epoch, in percent. In the short form (`--short`, minutes) the same
scripts check what a few epochs can show.

<!-- experiments -->
"""


def experiments() -> list[Experiment]:
    """Return the experiments of all scripts beside this one, in order."""
    names = sorted(path.stem for path in HERE.glob("[a-z][0-9]_*.py"))
    order = [name for letter in "rpf" for name in names if name.startswith(letter)]
    return [importlib.import_module(name).EXPERIMENT for name in order]


def number(value: float | None, signed: bool = False) -> str:
    """Return a number with as many decimals as its size wants."""
    if value is None:
        return ""
    digits = 0 if value == int(value) and abs(value) >= 10 else 1 if abs(value) >= 200 else 2
    return f"{value:{'+' if signed else ''}.{digits}f}"


def wanted(row: dict[str, Any]) -> str:
    """Return what the paper says, as text."""
    published = row["published"]
    if row["kind"] == "above":
        return "> 0" if published is None else f"> {number(published)}"
    if published is None:
        return ""
    sign = {"at least": ">= ", "at most": "<= "}.get(row["kind"], "")
    return sign + number(published) + (f" ± {number(row['tolerance'])}" if row["tolerance"] else "")


def line(row: dict[str, Any]) -> str:
    """Return a judged target as a row of the table."""
    if "mean" not in row:
        return f"| {row['name']} | {wanted(row)} | | | | {row['verdict']} |"
    mean = number(row["mean"]) + (f" ± {number(row['sd'])}" if row["sd"] is not None else "")
    if "interval" in row and len(row["values"]) > 1:
        mean += f" [{number(row['interval'][0], True)}, {number(row['interval'][1], True)}]"
    off = number(row["difference"], True) if row["difference"] is not None and row["kind"] == "near" else ""
    values = ", ".join(number(value) for value in row["values"].values())
    return f"| {row['name']} | {wanted(row)} | {mean} | {off} | {values} | {row['verdict']} |"


def section(experiment: Experiment) -> list[str]:
    """Return the lines of one experiment."""
    results = Results(experiment, RESULTS)
    runs = results.runs()
    rows = [target.judged(runs) for target in experiment.targets]
    seeds = sorted({int(seed) for case in runs.values() for seed in case})
    seconds = sum(run["seconds"] for case in runs.values() for run in case.values())
    command = results.load().get("command", "")
    lines = [
        f"## {experiment.name.upper()}: {experiment.title}", "",
        f"{experiment.source}. `{command}`, seeds {', '.join(map(str, seeds))}; {seconds / 60:.0f} minutes on one core "
        "that others used too." if seeds else f"{experiment.source}. Not run.", "",
        "| measured | wanted | mean ± sd [95 % interval] | off by | by seed | verdict |",
        "|---|---|---|---|---|---|", *map(line, rows), "",
    ]  # fmt: skip
    missed = [row for row in rows if row["verdict"] == "missed" and row["why"]]
    lines += [f"*{row['name']}*: {row['why']}" for row in missed] + [""] * bool(missed)
    digests = [f"{case} " + " ".join(run["digest"] for run in of.values()) for case, of in runs.items() if of]
    return [*lines, f"Digests of edges and weights at the end: {'; '.join(digests)}.", ""] if digests else lines


def headlines() -> str:
    """Return the short table of the README."""
    lines = ["| experiment | published | here | seeds |", "|---|---|---|---|"]
    for one in experiments():
        runs = Results(one, RESULTS).runs()
        for row in (target.judged(runs) for target in one.targets if target.headline):
            if "mean" not in row:
                continue
            mean = number(row["mean"]) + (f" ± {number(row['sd'])}" if row["sd"] is not None else "")
            if row["kind"] == "above" and "interval" in row:
                mean = f"{number(row['mean'], True)} [{', '.join(number(end, True) for end in row['interval'])}]"
            published = number(row["published"]) if row["published"] is not None else ""
            lines.append(f"| {row['headline']} | {published} | {mean} | {len(row['values'])} |")
    return "\n".join(lines)


def readme_with(table: str) -> str:
    """Return the README with the short table between its marks."""
    text = README.read_text()
    start, end = (text.index(mark) for mark in MARKS)
    return f"{text[: start + len(MARKS[0])]}\n{table}\n{text[end:]}"


def main() -> int:
    """Write the tables, or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a table is out of date")
    check = parser.parse_args().check
    text = "\n".join([HEAD, *(text for one in experiments() for text in section(one))]).rstrip() + "\n"
    wanted = {TABLE: text, README: readme_with(headlines())}
    if check:
        old = [path.name for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
        print(f"out of date: {', '.join(old)}; run python examples/papers/table.py" if old else "tables are up to date")
        return 1 if old else 0
    for path, content in wanted.items():
        path.write_text(content)
    runs = [(one, Results(one, RESULTS).runs()) for one in experiments()]
    counts = [target.judged(found)["verdict"] for one, found in runs for target in one.targets]
    print(", ".join(f"{counts.count(verdict)} {verdict}" for verdict in sorted(set(counts))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
