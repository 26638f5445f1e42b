"""Settings and fixtures of all tests: one thread, no windows, no deadlines, an eye on global random state."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Read by BLAS and OpenMP when they are first loaded, so they have to be set before torch and numpy come in.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "local", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-numba", action="store_true", help="run as if numba were not installed")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-numba"):
        # None in sys.modules makes `import numba` an ImportError, here and wherever the package tries it, and in the
        # processes that tests start: Python runs a sitecustomize that it finds on its path.
        sys.modules["numba"] = None  # type: ignore[assignment]
        folder = tempfile.mkdtemp(prefix="no-numba-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        Path(folder, "sitecustomize.py").write_text("import sys\nsys.modules['numba'] = None\n")
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep torch on one thread, also after a test that asked for more; torch is not imported for it."""
    if "torch" in sys.modules:
        import torch

        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)


@pytest.fixture
def global_rng_untouched() -> Iterator[None]:
    """Fail the test if it changes the global random state of Python, numpy or torch."""
    import torch

    def state() -> tuple[object, ...]:
        kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
        numpy_state = (kind, np.asarray(keys).tobytes(), position, has_gauss, gauss)
        return random.getstate(), numpy_state, torch.random.get_rng_state().numpy().tobytes()

    before = state()
    yield
    for name, old, new in zip(("Python", "numpy", "torch"), before, state(), strict=True):
        if old != new:
            pytest.fail(f"the global random state of {name} was changed")
