# Two commands do everything on a fresh machine: `make train` and `make test`.
# They make their own virtual environment in .venv.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Test processes; each uses one thread.
JOBS ?= 2
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
export OMP_NUM_THREADS ?= 1

# Benchmarks that need nothing but this project; docs/performance.md says what the others need.
BENCHMARKS ?= dynamic_sampling logprobs pass_at_k reference_memory scaling startup
# Pythons of environments with NeMo-RL's dependencies (NEMO_RL_ROOT: its source tree) and with
# TRL, each with this project installed: where given, `make bench` runs what needs them as well.
NEMO_PYTHON ?=
NEMO_RL_ROOT ?=
TRL_PYTHON ?=

.PHONY: train test test-slow test-slurm check lint lint-shell bench clean

train: $(VENV)/.runtime  ## run the embedded campaign: train, evaluate, report
	$(VENV)/bin/prorl train $(ARGS)

test: $(VENV)/.dev  ## the test-suite, without what takes long or needs other installations
	$(VENV)/bin/python -m pytest -q -n $(JOBS) --dist loadfile -m "not slow and not slurm" $(ARGS)

test-slow: $(VENV)/.dev  ## what takes long
	$(VENV)/bin/python -m pytest -q -m "slow and not slurm" $(ARGS)

test-slurm: $(VENV)/.ray  ## campaigns on a real Slurm; needs root and Debian's packages (.ci/run)
	$(VENV)/bin/python -m pytest -q -n $(JOBS) --dist worksteal -m slurm tests/slurm $(ARGS)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

lint-shell:  ## needs shellcheck
	cd slurm && shellcheck -x *.sh lib/*.sh cluster.env.example ../tests/slurm/*.sh

bench: $(VENV)/.dev  ## ratios against peers; fails when a goal is missed
	@missed=; run() { title=$$1; shift; echo "== $$title"; "$$@" || missed="$$missed $$title;"; }; \
	for name in $(BENCHMARKS); do run $$name $(VENV)/bin/python -m benchmarks.$$name; done; \
	[ -z "$(NEMO_PYTHON)" ] || for name in dynamic_sampling loss; do \
	  PYTHONPATH=$(NEMO_RL_ROOT) run "$$name, NeMo-RL" $(NEMO_PYTHON) -m benchmarks.$$name; done; \
	[ -z "$(TRL_PYTHON)" ] || for shape in tiny 135m; do \
	  run "local_engine $$shape, TRL" $(TRL_PYTHON) -m benchmarks.local_engine $$shape runs/local --steps 1; done; \
	[ -z "$$missed" ] || { echo "failed or missed a goal:$$missed"; exit 1; }

check: lint test  ## what CI checks, but for the shell scripts and Slurm

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

$(VENV)/.ray: $(VENV)/.dev
	$(PIP) --editable '.[nemo]'
	touch $@
