# `make` alone lists the targets. Every target sets up what it needs first.

SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --warn-undefined-variables --no-builtin-rules

# Seconds that the demo plans windows for before it drains and verifies; 0 = until Ctrl-C.
export DEMO_SECONDS ?= 60
# Test processes at once, and anything more for pytest: make test PYTEST_ARGS="-k relabel -x".
TEST_PROCESSES ?= 2
# The same for tests on servers, which wait for them most of the time, and for whole pipelines, which work
# more. Both keep their order: of pipelines, the files that take longest come first.
SERVER_TEST_PROCESSES ?= 4
PIPELINE_TEST_PROCESSES ?= 3
PYTEST_ARGS ?=
# Tests start services by the hundred, and each would compile all of our modules anew.
export PYTHONDONTWRITEBYTECODE :=
# Sources of test-matrix: found (the Prometheus that other tests use), trixie, sid (its Prometheus), victoria-metrics.
MATRIX ?= found trixie sid victoria-metrics
# What `make chaos` does its faults to.
WORLDS ?= one push replicas failover
# The configuration that config-check reads.
ETL_CONFIG ?= config/etl.yaml
# make scale transformer=4 loader=2; make logs SERVICE=loader; make up STACK_ARGS=--monitoring-only
extractor ?=
transformer ?=
loader ?=
SERVICE ?=
STACK_ARGS ?=

python := .venv/bin/python
pytest := $(python) -m pytest -n $(TEST_PROCESSES) --dist loadfile
in_order := $(pytest) --no-loadscope-reorder
server_pytest = $(in_order) -n $(SERVER_TEST_PROCESSES) -m "$(in_test)"
pipeline_pytest = $(in_order) -n $(PIPELINE_TEST_PROCESSES)
in_test := not chaos and not tls and not deployed_faults and not victoria_metrics and not hosts
# What reads a source: extraction, late samples, verify (its seals are read from the sink), readiness.
matrix_tests := tests/integration/sources \
  $(addprefix tests/integration/etlctl/verify/test_,compare.py deleted_beginning.py late.py native_histograms.py recount.py windows.py young_source.py) \
  $(addprefix tests/integration/extractor/test_,prometheus.py prometheus_pushed.py late_samples.py) $(addprefix tests/e2e/test_,pipeline.py push.py)
# What starts a whole pipeline, for half a minute and longer; what takes longest comes first.
pipeline_tests := tests/compose tests/e2e tests/hosts
# What makes hosts; what takes longest comes first, and the rest fits beside the Swarm.
hosts_tests := tests/hosts/test_swarm.py tests/e2e/test_redis_failover.py tests/hosts/test_cut_hosts.py tests/e2e/test_shards.py tests/hosts/test_network.py
# What holds the Helm chart and the Swarm stack to compose and to schemas.
manifest_tests := tests/unit/deploy/kubernetes tests/unit/deploy/swarm
# The unit tests of what is installed; `make coverage` measures them.
covered := $(addprefix tests/unit/,common etlctl services)
coverage := for part in common services etlctl; do \
  echo "coverage of $$part by the unit tests: $$($(python) -m coverage report --include "$$part/*" --format total) %"; done
etlctl := $(python) -m etlctl
shell_scripts := .ci/run $(addprefix devtools/scripts/,engine lock setup stand-ins) \
  deploy/image/install-packages deploy/image/strip-installers $(addprefix deploy/redis/,healthy.sh repair.sh start.sh users.sh) \
  deploy/stand_ins/influx deploy/stand_ins/influxdb-entrypoint deploy/swarm/deploy

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: DEMO_SECONDS, PYTEST_ARGS, TEST_PROCESSES, ETL_CONFIG, PYTHON, UPGRADE,"
	@echo "             extractor, transformer, loader (of scale), SERVICE (of logs), STACK_ARGS, MATRIX, WORLDS"

.PHONY: setup
setup: ## Make .venv from deploy/image/locks/dev.lock; instant when it is up to date
	@devtools/scripts/setup

.PHONY: demo
demo: setup ## Move real metrics through real servers for DEMO_SECONDS (60), prove every sample
	@DEMO_INSTALL_SECONDS=$$(sed -E 's/.*"seconds": ([0-9.]+).*/\1/' build/setup.json) $(python) -m devtools.demo

.PHONY: playground
playground: setup ## Start Prometheus, InfluxDB, Redis and the simulator to learn with, until Ctrl-C
	@$(python) -m devtools.playground

.PHONY: up
up: setup ## Start the deployment with docker compose: secrets, images, containers; wait until healthy
	@$(etlctl) stack up $(STACK_ARGS)

.PHONY: down
down: setup ## Stop and remove the containers; data and secrets stay
	@$(etlctl) stack down $(STACK_ARGS)

.PHONY: destroy
destroy: setup ## Remove the containers and all their data; asks first
	@$(etlctl) stack destroy $(STACK_ARGS)

.PHONY: ps
ps: setup ## Show the containers and their health
	@$(etlctl) stack ps $(STACK_ARGS)

.PHONY: logs
logs: setup ## Show the containers' logs; SERVICE=loader for one of them
	@$(etlctl) stack logs $(SERVICE) $(STACK_ARGS)

.PHONY: scale
scale: setup ## Set how many of a stage run: make scale transformer=4 loader=2
	@$(etlctl) stack scale $(foreach stage,extractor transformer loader,$(if $($(stage)),$(stage)=$($(stage)))) $(STACK_ARGS)

.PHONY: restart-etl
restart-etl: setup ## Restart the services of the pipeline one after the other; nothing else
	@$(etlctl) stack restart-etl $(STACK_ARGS)

.PHONY: status
status: setup ## Show containers, ledger, queries and streams of the deployment
	@$(etlctl) stack status $(STACK_ARGS)

.PHONY: test
test: setup ## Run the tests that need no server, and those of each part on real servers
ifneq ($(PYTEST_ARGS),)
	@$(pytest) -m "$(in_test)" $(PYTEST_ARGS)
else
# The tests of manifests are a part of manifests-check.
	@status=0; \
	  $(pytest) $(covered) || status=$$?; \
	  $(server_pytest) $(addprefix --ignore ,$(covered) $(manifest_tests) $(pipeline_tests)) || status=$$?; \
	  exit $$status
endif

.PHONY: pipelines-test
pipelines-test: setup ## Run whole pipelines: every alert, faults, backfills, the deployment where a Docker engine responds
# Chaos runs by itself, because it puts the machine under load.
	@status=0; \
	  $(pipeline_pytest) -m "$(in_test)" $(pipeline_tests) $(PYTEST_ARGS) || status=$$?; \
	  $(pytest) -n 1 tests/e2e/test_chaos_short.py -m chaos || status=$$?; \
	  exit $$status

.PHONY: coverage
coverage: setup ## Run the unit tests of what is installed with coverage, which doubles their time
	@$(pytest) $(covered) --cov --cov-report= $(PYTEST_ARGS)
	@$(coverage)

.PHONY: hosts-test
hosts-test: setup ## Cut hosts off, lose packets, fail Redis over under a running pipeline; needs root
	@$(pipeline_pytest) $(hosts_tests) $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: setup ## Run the tests that need no server
	@$(pytest) tests/unit $(PYTEST_ARGS)

.PHONY: test-integration
test-integration: setup ## Run the tests of each part on real servers
	@$(server_pytest) tests/integration tests/cases $(PYTEST_ARGS)

.PHONY: test-matrix
test-matrix: setup ## Run extraction, verify and readiness on each source of MATRIX, out of other suites of Debian
# Beside other tests in CI: its servers' logs are not theirs.
	@export ETL_TEST_RUN=tests-of-matrix; status=0; for source in $(MATRIX); do \
	  echo "test-matrix: $$source"; \
	  case $$source in \
	    victoria-metrics) $(pytest) -m victoria_metrics tests/integration/sources $(PYTEST_ARGS) ;; \
	    found) $(pytest) -m "$(in_test)" $(matrix_tests) $(PYTEST_ARGS) ;; \
	    *) ETL_TEST_PROMETHEUS=$$source $(pytest) -m "$(in_test)" $(matrix_tests) $(PYTEST_ARGS) ;; \
	  esac || status=$$?; \
	done; exit $$status

.PHONY: compose-test
compose-test: setup ## Try the deployment on a real Docker engine, with TLS too: up, scale, kill, repair, prove
	@$(python) -m pytest tests/compose $(PYTEST_ARGS)

.PHONY: chaos
chaos: setup ## Run the fault suite on real processes, in each of WORLDS (CHAOS_SEED); writes build/chaos*.json
	@status=0; for world in $(WORLDS); do \
	  $(python) -m devtools.chaos --world $$world || status=$$?; \
	done; exit $$status

.PHONY: chaos-short
chaos-short: setup ## Run two minutes of faults, and the tests that the oracles notice every loss
	@$(python) -m pytest tests/e2e/test_chaos_short.py tests/e2e/test_chaos_push.py $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: setup ## Give all decoders a million inputs; writes build/fuzz.json
	@$(python) -m devtools.fuzz

.PHONY: bench
bench: setup ## Measure limits, product, peers, steps, tiers, live mode in 30 minutes; writes build/bench.json
	@$(python) -m devtools.bench

.PHONY: bench-long
bench-long: setup ## Measure shapes, scale, an outage, a week, memory in two hours; adds them to build/bench.json
	@$(python) -m devtools.bench --long

.PHONY: bench-quick
bench-quick: setup ## Measure the main case in 90 seconds; writes build/bench.json
	@$(python) -m devtools.bench --quick

.PHONY: scaling-sim
scaling-sim: setup ## Measure Redis' scripts with 10,000 feeds, 10^6 windows and 200,000 entries; writes build/scaling.json
	@$(python) -m devtools.scaling

.PHONY: check
check: setup ## Check lint, format, types (mypy --strict), imports, spelling, shell scripts, rendered files
	@$(python) -m ruff check --output-format concise .
	@$(python) -m ruff format --check .
	@$(python) -m mypy
	@.venv/bin/lint-imports --no-logo --cache-dir build/import-linter
	@.venv/bin/codespell
	@.venv/bin/shellcheck $(shell_scripts)
	@$(MAKE) monitoring-check
	@echo "check: clean"

.PHONY: monitoring-check
monitoring-check: setup ## Check rules, dashboards and scrape configuration: rendered as committed, accepted by promtool
	@$(python) -m monitoring check

.PHONY: manifests-check
manifests-check: setup ## Check the Helm chart, its manifests and the Swarm stack with helm and kubernetes-validate
	@$(python) -m devtools.kubernetes install
	@$(pytest) $(manifest_tests) $(PYTEST_ARGS)

.PHONY: format
format: setup ## Format the code and repair what ruff can repair
	@$(python) -m ruff check --fix-only --quiet .
	@$(python) -m ruff format .

.PHONY: config-check
config-check: setup ## Check ETL_CONFIG (config/etl.yaml) and its secrets, print what is in effect
	@$(python) -m etlctl config check --config "$(ETL_CONFIG)"

.PHONY: docs
docs: setup ## Render what is generated (reference pages, rules, dashboards), then the pages as a site in build/site
	@$(python) -m devtools.docs.configuration > docs/configuration.md
	@$(python) -m devtools.docs.metrics > docs/metrics.md
	@$(python) -m monitoring render
	@$(MAKE) site

.PHONY: site
site: setup ## Build the pages as they are as a site in build/site; broken links and anchors are errors
	@$(python) -m devtools.docs.site

.PHONY: wheel
wheel: setup ## Build a wheel of etlctl alone, for pipx, into build/dist
	@$(python) -m devtools.wheel

.PHONY: manifests
manifests: setup ## Render deploy/kubernetes from the Helm chart
	@$(python) -m devtools.kubernetes render

.PHONY: screenshots
screenshots: setup ## Run the pipeline for SCREENSHOT_SECONDS (180) and draw docs/images/; needs Debian's package chromium
	@$(python) -m devtools.screenshots

.PHONY: lock
lock: setup ## Write deploy/image/locks/*.lock anew from pyproject.toml; UPGRADE=1 takes the newest
	@devtools/scripts/lock

.PHONY: sbom
sbom: setup ## Write build/sbom: a bill of materials (CycloneDX) for each image, and the licences of all packages
	@$(python) -m devtools.sbom

.PHONY: clean
clean: ## Remove what the targets made, except the unpacked servers in .tools
	rm -rf .venv build *.egg-info .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.tools/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove the unpacked servers too
	rm -rf .tools
