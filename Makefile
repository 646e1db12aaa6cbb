# make demo | make test | make setup. Uses uv when it is installed, venv + pip otherwise.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TORCH  ?= torch==2.13.0
DATA   ?=
OUT    ?= runs/demo

UV := $(shell command -v uv 2>/dev/null)
ifdef UV
  MAKE_VENV = uv venv --quiet --seed --python ">=3.11" $(VENV)
  INSTALL   = uv pip install --quiet --python $(BIN)/python
else
  MAKE_VENV = $(PYTHON) -m venv $(VENV)
  INSTALL   = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.DEFAULT_GOAL := help
.PHONY: help demo test setup lint clean

help:            ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## +/\t/'

demo: $(VENV)/.torch  ## the whole pipeline on a small model; DATA=FILE.jsonl for your own trajectories, OUT=DIR
	$(BIN)/tl-jax demo --out $(OUT) $(if $(DATA),--data $(DATA))

test: lint       ## lint, types and the test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(VENV)/.setup  ## only the environment: .venv with the tl-jax command in it

$(VENV)/.setup: pyproject.toml
	test -x $(BIN)/python || $(MAKE_VENV)
	$(INSTALL) -e '.[train]'
	@touch $@

# torch only checks exported models against transformers; the CPU build is enough. pip is used even beside uv, and the
# second index (skipped at once where it cannot be reached) is where PyTorch publishes its CPU builds for Linux.
$(VENV)/.torch: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 0 \
	  --extra-index-url https://download.pytorch.org/whl/cpu $(TORCH)
	@touch $@

$(VENV)/.dev: $(VENV)/.torch
	$(INSTALL) -e '.[dev]'
	@touch $@

clean:           ## remove the environment and caches (runs/ stays)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
