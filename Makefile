# SPDX-License-Identifier: Apache-2.0
# Each target makes what it needs: a virtual environment in .venv and, as root on Debian, the packages of
# scripts/debian-packages. Another interpreter: `make PYTHON=/path/to/python3.12 ...`

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := scripts/setup

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench fuzz coverage venv packages clean

help: ## say what there is (the default)
	@echo "make TARGET, one of:"
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: packages venv ## mount a mirror and an in-memory file system, run real programs on them, show what it took
	@$(BIN)/python -m instar demo

test: packages venv ## run linters, types and all tests on real mounts; a short part on other Pythons (under 15 minutes)
	@scripts/test

lint: venv ## run the linters and the type checker
	@scripts/test --lint

format: venv ## let ruff format the code and mend what it can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bench: packages ## run the benchmarks; tables and plots go to benchmarks/results
	@$(SETUP) .venv-bench $(PYTHON) dev,bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt || \
		echo "bench: not everything of benchmarks/requirements.txt installed; what is missing is left out" >&2
	@status=0; for script in metadata data memory layout; do echo "== benchmarks/$$script.py"; \
		.venv-bench/bin/python benchmarks/$$script.py $(BENCH) || status=1; done; exit $$status

fuzz: ## fuzz the protocol cores with atheris; FUZZ_SECONDS for each target (60)
	@$(SETUP) .venv-fuzz $(PYTHON) dev,fuzz
	@set -e; for target in $(wildcard fuzz/fuzz_*.py); do \
		name=$$(basename $$target .py); mkdir -p .fuzz/$$name; \
		echo "== $$target"; .venv-fuzz/bin/python $$target -max_total_time=$${FUZZ_SECONDS:-60} .fuzz/$$name; done

coverage: packages venv ## run the tests and show which lines and branches they do not reach
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest; status=$$?; $(BIN)/coverage combine --quiet; $(BIN)/coverage report; exit $$status

venv: ## make the virtual environment
	@$(SETUP) $(VENV) $(PYTHON) dev

packages: ## install the missing Debian packages (as root; otherwise say which)
	@$(SETUP) --packages

clean: ## remove the virtual environments and caches
	rm -rf .venv .venv-* .setup-*.lock .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .fuzz build dist htmlcov
