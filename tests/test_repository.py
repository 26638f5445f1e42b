"""Facts about the repository as a whole: its rules hold in every file, and what it ships is complete."""

from __future__ import annotations

import ast
import configparser
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from deepgraph import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "deepgraph"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 450

source_file = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))


def run_python(program: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=120
    )


# ---------------------------------------------------------------- rules in every file


@source_file
def test_no_asserts_in_the_package(path: Path) -> None:
    lines = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
    assert not lines, f"{path.name}: raise an error of deepgraph.errors instead of assert in lines {lines}"


@source_file
def test_no_file_is_too_long(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{path.name} has {lines} lines, more than {MAX_LINES}: split it by what it does"


@source_file
def test_no_notes_to_oneself(path: Path) -> None:
    notes = re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", path.read_text())
    assert not notes


@source_file
def test_names_of_files_say_what_is_in_them(path: Path) -> None:
    assert not {"utils", "util", "helpers", "misc", "common"} & set(path.relative_to(PACKAGE).with_suffix("").parts)


# ---------------------------------------------------------------- what is raised


def own_error_names() -> set[str]:
    """The names of deepgraph.errors and of the classes of the package that derive from them."""
    names = set(errors.__all__)
    classes = [
        node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    ]
    while derived := {c.name for c in classes if {last_name(base) for base in c.bases} & names} - names:
        names |= derived
    return names


def last_name(node: ast.expr | None) -> str:
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


OWN_ERRORS = own_error_names()


def error_makers() -> set[str]:
    """The names of functions of the package that are annotated to return one of its errors."""
    return {
        node.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and last_name(node.returns) in OWN_ERRORS
    }


ERROR_MAKERS = error_makers()


def raises_in(tree: ast.AST, function: ast.AST | None = None) -> Iterator[tuple[ast.Raise, ast.AST | None]]:
    """Every raise with the innermost function that it is in."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Raise):
            yield child, function
        inside = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield from raises_in(child, inside)


def is_allowed(node: ast.Raise, function: ast.AST | None, path: Path, caught: set[str]) -> bool:
    name = last_name(node.exc)
    where = getattr(function, "name", "")
    decorators = {last_name(decorator) for decorator in getattr(function, "decorator_list", [])}
    in_graph = "graph" in path.relative_to(PACKAGE).parts
    return (
        node.exc is None
        or name in OWN_ERRORS | ERROR_MAKERS | {"StopIteration"}
        or (isinstance(node.exc, ast.Name) and name in caught)
        or (name == "NotImplementedError" and "abstractmethod" in decorators)
        or (name == "AttributeError" and where == "__getattr__")
        # The storage of a graph lies under the Mapping views that networkx sees, and speaks their protocol.
        or (name == "KeyError" and in_graph)
        # On a graph, networkx's own methods fail with networkx's own errors, as code written for it expects.
        or (name.startswith("NetworkX") and in_graph)
        # fastai's callbacks steer its loop by its own exceptions.
        or (name == "CancelStepException" and path.stem == "fastai")
        or (
            name in {"SystemExit", "ArgumentTypeError", "KeyboardInterrupt"}
            and ("cli" in path.parts or path.stem == "__main__")
        )
    )


@source_file
def test_every_raise_is_of_the_family(path: Path) -> None:
    tree = ast.parse(path.read_text())
    caught = {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    wrong = [
        f"line {node.lineno}: raise {ast.unparse(node.exc)[:60]}"
        for node, function in raises_in(tree)
        if node.exc is not None and not is_allowed(node, function, path, caught)
    ]
    assert not wrong, f"{path.relative_to(ROOT)}: use an error of deepgraph.errors:\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "DeepGraphError"])
def test_each_error_is_also_a_builtin_and_prints_its_sentence(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, errors.DeepGraphError)
    assert any(base.__module__ == "builtins" and base not in (Exception, BaseException) for base in error.__mro__[:-3])
    assert str(error("expected a, got b; do c")) == "expected a, got b; do c"


# ---------------------------------------------------------------- docstrings


def module_names() -> list[str]:
    found = pkgutil.walk_packages([str(PACKAGE)], prefix="deepgraph.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


def members(cls: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(cls).items():
        is_code = inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)
        if is_code and not name.startswith("_"):
            yield f"{cls.__name__}.{name}", getattr(cls, name)


@pytest.mark.parametrize("module_name", module_names())
def test_everything_public_has_a_docstring(module_name: str) -> None:
    try:
        module = import_module(module_name)
    except ImportError as error:
        pytest.skip(str(error))
    bare = [] if inspect.getdoc(module) else [module_name]
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module_name:
            continue
        if inspect.isclass(value):
            bare += [inner for inner, member in members(value) if not inspect.getdoc(member)]
        if inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value) if callable(value) else value):
            bare += [] if inspect.getdoc(value) else [name]
    assert not bare, f"{module_name}: without docstring: {', '.join(bare)}"


# ---------------------------------------------------------------- importing


def test_import_is_light() -> None:
    done = run_python(
        "import sys, deepgraph\n"
        "loaded = {name for name, module in sys.modules.items() if module is not None}\n"
        "heavy = {'torch', 'numba', 'matplotlib', 'scipy', 'pandas'} & loaded\n"
        "print('version', deepgraph.__version__, 'imported', sorted(heavy))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("imported []")


def test_import_leaves_warnings_and_other_libraries_alone() -> None:
    done = run_python(
        "import logging, random, sys, warnings\n"
        "import matplotlib, networkx, numpy, scipy.sparse, scipy.stats, torch\n"
        "def state():\n"
        "    return (list(warnings.filters), dict(matplotlib.rcParams), torch.get_default_dtype(),\n"
        "            torch.get_num_threads(), numpy.geterr(), numpy.get_printoptions(), logging.root.level,\n"
        "            logging.root.handlers[:], random.getstate(), torch.random.get_rng_state().tolist(),\n"
        "            numpy.random.get_state()[1].tolist(), sys.getrecursionlimit(), str(networkx.config))\n"
        "before = state()\n"
        "import deepgraph\n"
        "[getattr(deepgraph, name) for name in deepgraph.__all__]\n"
        "after = state()\n"
        "print([i for i, (a, b) in enumerate(zip(before, after)) if a != b])",
        MPLBACKEND="Agg",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import deepgraph

    missing = [name for name in deepgraph.__all__ if not hasattr(deepgraph, name)]
    assert not missing
    assert set(deepgraph.__all__) <= set(dir(deepgraph))
    with pytest.raises(AttributeError, match="no_such_name"):
        deepgraph.no_such_name  # noqa: B018


# ---------------------------------------------------------------- what is shipped


@pytest.fixture(scope="module")
def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_one_version_everywhere(config: configparser.ConfigParser) -> None:
    import deepgraph

    version = config["metadata"]["version"]
    assert deepgraph.__version__ == version
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_requirements_have_floors_and_pins(config: configparser.ConfigParser) -> None:
    lines = config["options"]["install_requires"].split()
    floors = dict(line.split(">=") for line in lines)
    assert set(floors) == {"numpy", "scipy", "networkx", "torch", "matplotlib", "tqdm"}
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in constraints if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    wanted = [
        re.split("[>=]", line)[0] for extra in config["options.extras_require"].values() for line in extra.split()
    ]
    assert {*floors, *wanted} <= set(pins)


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_code_blocks_of_the_pages_end_with_an_empty_line() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
            assert block.endswith("\n\n"), f"{page.name}: the closing fence would be read as expected output:\n{block}"


def test_readme_names_the_two_commands_that_the_makefile_has() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in readme
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE)


def test_ci_runs_the_two_commands() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert text.index("make test") < text.index("make demo")


@pytest.mark.slow
def test_the_wheel_holds_data_and_types(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="older setuptools build no wheels on their own")
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(PACKAGE, copy / "deepgraph", ignore=shutil.ignore_patterns("__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("deepgraph_nn-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in SOURCES}
    data = {f"deepgraph/dataset/fashion_mnist_sample.{suffix}" for suffix in ("npz", "txt")}
    assert modules | data | {"deepgraph/py.typed"} <= names
    assert not any(name.startswith(("tests/", "examples/", "docs/")) for name in names)
