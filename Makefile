# Two commands do everything on a fresh machine: `make train` and `make test`.
# They make their own virtual environment in .venv.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Test processes; each uses one thread.
JOBS ?= 2
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
export OMP_NUM_THREADS ?= 1

.PHONY: train test test-slow check lint clean

train: $(VENV)/.runtime  ## run the embedded campaign: train, evaluate, report
	$(VENV)/bin/prorl train $(ARGS)

test: $(VENV)/.dev  ## the test-suite, without what takes long or needs other installations
	$(VENV)/bin/python -m pytest -q -n $(JOBS) --dist loadfile -m "not slow and not slurm" $(ARGS)

test-slow: $(VENV)/.dev  ## the rest: slow tests, and campaigns on a real Slurm
	$(VENV)/bin/python -m pytest -q -m "slow or slurm" $(ARGS)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

check: lint test  ## all that CI checks

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	touch $@

$(VENV)/.runtime: $(VENV)/.torch setup.cfg
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.torch setup.cfg
	$(PIP) --editable '.[dev,domains,creativity,megatron]'
	touch $@ $(VENV)/.runtime
