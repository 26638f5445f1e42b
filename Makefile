# Everything runs in .venv, which is made on the first call. Another interpreter: make PYTHON=/path/to/python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUTS := setup.cfg pyproject.toml constraints.txt
ARGS ?=
PYTEST_ARGS ?=
LOG := .cache/make.log
# Scripts import one another by name, and need not annotate everything.
SCRIPTS := examples/benchmarks examples/papers
LOOSER := --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls --no-warn-return-any --no-warn-unused-ignores

export MPLBACKEND := Agg
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call step,what it does,command): one line when all is well, the whole output when not.
define step
@mkdir -p $(dir $(LOG)); printf '%s\n' "$(1)"; $(2) > $(LOG) 2>&1 || { cat $(LOG); echo "failed: $(1)"; exit 1; }
endef

.DEFAULT_GOAL := help
.PHONY: help demo test lint check-all coverage docs clean

help:
	@echo "make demo       install, then build, train, extract and draw sparse networks on the bundled data"
	@echo "make test       install, then check style, types and layers and run the tests"
	@echo "make check-all  make test, then the slow tests, the examples, the benchmarks, short forms of the papers' experiments"
	@echo "                and a run without numba"
	@echo "make docs       build the documentation into docs/_build/html"
	@echo "make clean      remove what these commands made, .venv included"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "deepgraph needs Python 3.11 or newer, but $(PYTHON) --version says "$$($(PYTHON) --version 2>&1 | tail -n 1)": make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) comes without venv: install it (Debian, Ubuntu: apt install python3-venv), or make PYTHON=/path/to/another"; exit 1; }
	$(call step,making $(VENV) with $$($(PYTHON) --version),$(PYTHON) -m venv $(VENV))

$(VENV)/.with-fast: $(INPUTS) | $(BIN)/python
	$(call step,installing deepgraph with numba into $(VENV) (minutes the first time),$(BIN)/python -m pip install -q -c constraints.txt -e '.[fast]')
	@touch $@

$(VENV)/.with-test: $(INPUTS) | $(BIN)/python
	$(call step,installing deepgraph with numba and the test tools into $(VENV) (minutes the first time),$(BIN)/python -m pip install -q -c constraints.txt -e '.[fast$(comma)test]')
	@touch $@ $(VENV)/.with-fast

$(VENV)/.with-docs: $(INPUTS) | $(BIN)/python
	$(call step,installing deepgraph with numba and the documentation tools into $(VENV),$(BIN)/python -m pip install -q -c constraints.txt -e '.[fast$(comma)docs]')
	@touch $@

comma := ,

demo: $(VENV)/.with-fast
	@$(BIN)/deepgraph demo $(ARGS)

lint: $(VENV)/.with-test
	$(call step,checking style (ruff),$(BIN)/ruff check --quiet .)
	$(call step,checking format (ruff),$(BIN)/ruff format --check --quiet --diff .)
	$(call step,checking types (mypy --strict),$(BIN)/mypy --strict deepgraph)
	$(call step,checking types of examples (mypy),MYPYPATH=examples/benchmarks:examples/papers $(BIN)/mypy $(LOOSER) $(SCRIPTS))
	$(call step,checking layers (import-linter),$(BIN)/lint-imports)

test: lint
	@echo "running the tests and the doctests"
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check-all: lint
	@echo "running all tests, the slow ones included"
	@$(BIN)/python -m pytest -m "slow or not slow" $(PYTEST_ARGS)
	@echo "running the tests without numba"
	@$(BIN)/python -m pytest --no-numba $(PYTEST_ARGS)
	@for script in $(sort $(wildcard examples/plot_*.py)); do \
	  echo "running $$script"; $(BIN)/python $$script > $(LOG) 2>&1 || { cat $(LOG); echo "failed: $$script"; exit 1; }; done
	@for script in $(sort $(wildcard examples/benchmarks/*.py)); do \
	  echo "running $$script --quick"; $(BIN)/python $$script --quick > $(LOG) 2>&1 || { cat $(LOG); echo "failed: $$script"; exit 1; }; done
	@for script in $(sort $(wildcard examples/papers/[a-z][0-9]_*.py)); do \
	  echo "running $$script --short"; $(BIN)/python $$script --short > $(LOG) 2>&1 || { cat $(LOG); echo "failed: $$script"; exit 1; }; done
	@$(BIN)/python examples/papers/table.py --check

coverage: $(VENV)/.with-test
	@$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	@$(BIN)/coverage report

docs: $(VENV)/.with-docs
	$(call step,building docs/_build/html,$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html)

clean:
	@rm -rf $(VENV) .cache build dist out *.egg-info docs/_build docs/gallery docs/generated htmlcov .coverage
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find deepgraph tests examples docs -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "removed $(VENV) and everything that was built"
