# make demo       the main job, from nothing to its table
# make demo-translator   the same for a translator: Gemma 3 270M, 253 MB, under Google's terms (ai.google.dev/gemma/terms)
# make test       the tests (test-slow: those that take minutes)
# make check      all that must hold before a commit: format, lint, types, layers, tests
#
# Every target sets up .venv by itself.  The build of torch is yours to choose, here the one without CUDA:
#   make demo PIP_TORCH_FLAGS="--index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
PIP_TORCH_FLAGS ?=
DEMO_RECIPES ?= efficientnet-lite0-w8a8 efficientnet-lite0-w4
PYTEST_ARGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(PYTEST_ARGS)
SOURCES := compress tests examples

.PHONY: demo demo-translator test test-slow check lint types layers format clean

demo: $(VENV)/.demo
	$(BIN)/compress run $(DEMO_RECIPES)

demo-translator: $(VENV)/.translator
	@echo "Gemma 3 270M: Gemma is provided under and subject to the Gemma Terms of Use, https://ai.google.dev/gemma/terms"
	$(BIN)/compress run recipes/gemma-3-270m-w4.yaml
	$(BIN)/compress translate runs/gemma-3-270m-w4/artefact --from en --to fr "Good morning. Where is the train station?"

test: $(VENV)/.dev
	$(PYTEST)

test-slow: $(VENV)/.dev $(VENV)/.slow
	$(PYTEST) -m slow

check: lint types layers test

lint: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "error: '$(PYTHON)' is not Python 3.10 or newer: name one that is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch before the rest, so that its build is the one that was asked for.
$(VENV)/.torch: | $(BIN)/python
	$(PIP) install $(PIP_TORCH_FLAGS) $(TORCH)
	@touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.torch
	$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.translator: pyproject.toml $(VENV)/.torch
	$(PIP) install --editable '.[translator]'
	@touch $@

$(VENV)/.slow: pyproject.toml $(VENV)/.torch
	$(PIP) install --editable '.[browser,llamacpp,ray]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.demo
	$(PIP) install --editable '.[demo,dev]'
	@touch $@
