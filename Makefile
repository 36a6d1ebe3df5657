# Every target works in a fresh clone: it makes .venv and installs the pinned set first.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
SHELL := /bin/bash

.PHONY: install demo test test-slow test-browser lint build soak soak-sample messages mutants tolerances sweep bench-class clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all]'
	@touch $(STAMP)

demo: install
	@$(BIN)/python docs/demo/run.py

test: install
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -q

test-slow: install
	$(BIN)/python -m pytest -m slow -q

test-browser: install
	$(BIN)/python -m pytest -m browser -q

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

build: install
	$(BIN)/gptdojo build

soak: install
	$(BIN)/python -m gptdojo.authoring.soak

soak-sample: install
	$(BIN)/python -m gptdojo.authoring.soak --seconds 75

messages: install
	$(BIN)/python -m gptdojo.authoring.messages docs/messages.md

mutants: install
	$(BIN)/python -m gptdojo.authoring.mutants

tolerances: install
	$(BIN)/python -m gptdojo.gate

sweep: install
	$(BIN)/python solutions/17_scaling/sweep.py

bench-class: install
	$(BIN)/python tests/bench_class.py --stock 10

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
