# `make` alone lists the targets. Every target sets up what it needs first.

SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --warn-undefined-variables --no-builtin-rules

# Seconds that the demo plans windows for before it drains and verifies; 0 = until Ctrl-C.
export DEMO_SECONDS ?= 60
# Test processes at once, and anything more for pytest: make test PYTEST_ARGS="-k relabel -x".
TEST_PROCESSES ?= 2
PYTEST_ARGS ?=
# The configuration that config-check reads.
ETL_CONFIG ?= config/etl.yaml

python := .venv/bin/python
pytest := $(python) -m pytest -n $(TEST_PROCESSES) --dist loadfile
shell_scripts := .ci/run scripts/lock scripts/setup

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: DEMO_SECONDS, PYTEST_ARGS, TEST_PROCESSES, ETL_CONFIG, PYTHON, UPGRADE"

.PHONY: setup
setup: ## Make .venv from requirements/dev.lock; instant when it is up to date
	@scripts/setup

.PHONY: demo
demo: setup ## Move real metrics through real servers for DEMO_SECONDS (60), prove every sample
	@DEMO_INSTALL_SECONDS=$$(sed -E 's/.*"seconds": ([0-9.]+).*/\1/' build/setup.json) $(python) -m etlctl demo

.PHONY: test
test: setup ## Run all tests, unit and integration, on real servers
	@$(pytest) -m "not chaos" $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: setup ## Run the tests that need no server
	@$(pytest) tests/unit $(PYTEST_ARGS)

.PHONY: test-integration
test-integration: setup ## Run the tests on real servers: integration and end to end
	@$(pytest) -m "not chaos" tests/integration tests/e2e $(PYTEST_ARGS)

.PHONY: chaos
chaos: setup ## Fault suite on real processes (CHAOS_SEED); writes build/chaos.json
	@$(python) -m chaos

.PHONY: chaos-short
chaos-short: setup ## Three minutes of faults, and the test that the oracle notices every loss
	@$(python) -m pytest tests/e2e/test_chaos_short.py $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: setup ## A million inputs for every decoder; writes build/fuzz.json
	@$(python) -m fuzz

.PHONY: check
check: setup ## Lint, check the format and the types (ruff, mypy --strict) and the shell scripts
	@$(python) -m ruff check --output-format concise .
	@$(python) -m ruff format --check .
	@$(python) -m mypy
	@.venv/bin/shellcheck $(shell_scripts)
	@echo "check: clean"

.PHONY: format
format: setup ## Format the code and repair what ruff can repair
	@$(python) -m ruff check --fix-only --quiet .
	@$(python) -m ruff format .

.PHONY: config-check
config-check: setup ## Validate ETL_CONFIG (config/etl.yaml) and its secrets, print what is in effect
	@$(python) -m etlctl config check --config "$(ETL_CONFIG)"

.PHONY: docs
docs: setup ## Render the generated pages, docs/configuration.md and docs/metrics.md
	@$(python) -m common.settings.reference > docs/configuration.md
	@$(python) -m common.metrics_reference > docs/metrics.md

.PHONY: lock
lock: setup ## Write requirements/*.lock anew from pyproject.toml; UPGRADE=1 takes the newest
	@scripts/lock

.PHONY: clean
clean: ## Remove what the targets made, except the unpacked servers in .tools
	rm -rf .venv build *.egg-info .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.tools/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove the unpacked servers too
	rm -rf .tools
