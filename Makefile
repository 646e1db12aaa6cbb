# make demo | make quick | make test. Uses uv when it is installed, venv + pip otherwise.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TORCH  ?= torch==2.13.0
BFCL   ?= bfcl-eval==2026.3.23
DATA   ?=
CASES  ?=
SMALL  := models/smollm2
MODEL  ?= $(SMALL)
OUT    ?= runs/demo
LIBTPU := import importlib.metadata as m; print(*[need.split(';')[0] for need in m.requires('jax') if need.startswith('libtpu')])
JOBS   ?= 2
COV    ?=
QUICK  := tests/tooluse tests/config tests/cli $(wildcard tests/test_*.py)

UV := $(shell command -v uv 2>/dev/null)
ifdef UV
  MAKE_VENV = uv venv --quiet --seed --python ">=3.11" $(VENV)
  INSTALL   = uv pip install --quiet --python $(BIN)/python
else
  MAKE_VENV = $(PYTHON) -m venv $(VENV)
  INSTALL   = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
endif
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# What dozens of processes import is compiled once, whatever images of containers say: a third of their start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo demo-real given setup quick check test thorough fuzz mutations plan-tpu lint docs dist clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## +/\t/'

demo: $(VENV)/.torch  ## the whole pipeline on a small model; DATA=FILE.jsonl for your own trajectories, OUT=DIR
	@$(MAKE) --no-print-directory $(VENV)/.setup  # after torch, not beside it: both are pip in one environment
	$(BIN)/tl-jax demo --out $(OUT) $(if $(DATA),--data $(DATA))

demo-real: OUT = runs/demo_real
demo-real: given $(VENV)/.torch  ## the same with MODEL=DIR (default: SmolLM2-135M), DATA=FILE and CASES="FILE ...": 40 minutes on two cores
	@$(MAKE) --no-print-directory $(VENV)/.setup
	$(if $(filter $(SMALL),$(MODEL)),test -e $(MODEL) || { $(INSTALL) -e '.[gguf]' && $(BIN)/python examples/smollm2/get_model.py --out $(MODEL); })
	$(BIN)/tl-jax demo --out $(OUT) --model $(MODEL) --data $(DATA) $(CASES:%=--cases %)

given:
	@test -n "$(DATA)" || { echo "make demo-real: give DATA=FILE, trajectories to train on (docs/formats.md)"; exit 2; }
	@test -n "$(CASES)" || { echo "make demo-real: give CASES=FILE, what is asked before and after (docs/formats.md)"; exit 2; }

setup: $(VENV)/.setup  ## only the environment: .venv with the tl-jax command in it

quick: $(VENV)/.test  ## ruff and the tests that need no JAX, nor an environment with it: half a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) -m "not slow and not long and not jax" --hypothesis-profile quick $(QUICK)

check: lint      ## lint, types and every test but the slow ones; JOBS=4 on more cores
	$(PYTEST) -m "not slow"

test: lint       ## lint, types and the test suite; COV=1 measures what it covers, and takes half as long again
	$(PYTEST) -m "not thorough" $(if $(COV),--cov --cov-report=term:skip-covered)

thorough: $(VENV)/.dev  ## slow tests once more, with the other estimators and settings: minutes
	$(PYTEST) -m thorough

fuzz: $(VENV)/.dev  ## anything at all as rows, answers, results, settings, models, checkpoints: minutes; nothing may raise
	$(PYTEST) -m fuzz --hypothesis-profile fuzz

mutations: $(VENV)/.dev  ## breaks the code on purpose, one place at a time: a test must notice each
	$(BIN)/python -m tests.mutations

plan-tpu: $(VENV)/.plan-tpu  ## compiles a small step by XLA's compiler for TPUs, which is 213 MB; no device is needed
	PYTHONPATH=$(VENV)/plan-tpu $(BIN)/python -m pytest -n0 -k small tests/plan/test_compilers.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs  ## the documents and the API reference as a site in build/site; a dead link is an error
	$(BIN)/zensical build --strict --clean

dist: $(VENV)/.test  ## a wheel in dist/, installed and tried in clean environments with and without JAX
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python -m pytest tests/wheel.py

$(VENV)/.python:
	test -x $(BIN)/python || $(MAKE_VENV)
	@touch $@

$(VENV)/.setup: pyproject.toml $(VENV)/.python
	$(INSTALL) -e '.[train]'
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.python
	$(INSTALL) -e '.[test]'
	$(INSTALL) --no-deps $(BFCL)
	@touch $@

$(VENV)/.docs: pyproject.toml $(VENV)/.python
	$(INSTALL) -e '.[docs]'
	@touch $@

# torch only checks exported models against transformers; the CPU build is enough. pip is used even beside uv, and the
# second index (skipped at once where it cannot be reached) is where PyTorch publishes its CPU builds for Linux.
$(VENV)/.torch: $(VENV)/.python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --retries 0 \
	  --extra-index-url https://download.pytorch.org/whl/cpu $(TORCH)
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.torch
	$(INSTALL) -e '.[dev]'
	$(INSTALL) --no-deps $(BFCL)
	@touch $(VENV)/.setup $(VENV)/.test $@

# The compiler lies beside the environment, not in it: JAX looks for a TPU wherever it finds one installed.
$(VENV)/.plan-tpu: $(VENV)/.dev
	$(INSTALL) --no-deps --target $(VENV)/plan-tpu "$$($(BIN)/python -c "$(LIBTPU)")"
	@touch $@

clean:           ## remove the environment, builds and caches (runs/ stays)
	rm -rf $(VENV) build dist .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
