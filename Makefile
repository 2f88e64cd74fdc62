# Each goal sets up everything it needs, from nothing. PYTHON= chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow gpu bench lint format clean

# pip puts a resolver's work beside what is there: a changed pyproject installs anew.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $(READY)

demo: $(READY)
	$(BIN)/mtujax demo demo

test: $(READY) lint
	$(BIN)/python -m pytest

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

gpu: $(READY)
	$(BIN)/python -c "import jax; assert jax.default_backend() != 'cpu', 'no accelerator found: install mtujax[cuda] or mtujax[tpu]'"
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/core.py

bench: $(READY)
	$(BIN)/python benchmarks/core.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build *.egg-info
