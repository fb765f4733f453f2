# `make` alone prints this index. Everything runs in .venv, which any of these commands creates from uv.lock.

SHELL := /bin/sh
BROKER ?= redis
PORT ?= 8000
MINUTES ?= 10
FAULT_SECONDS ?= 20
UV := $(shell command -v uv || echo var/tools/bin/uv)
PYTHON := .venv/bin/python
# Most tests wait for something; each of these processes has servers of its own. `make test ARGS="-n 0 ..."` runs one.
PYTEST := $(PYTHON) -m pytest --dist loadgroup
# A running service and several seconds each. The longest first, so that all processes end at about the same time.
WATCHING := tests/browser tests/journey/test_first_run.py tests/test_schemathesis.py tests/journey/test_broker_down.py \
	tests/test_doctor.py tests/test_health.py tests/test_telemetry.py
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install run order test watch-test celery-suite compose-test conformance bench-quick pictures check audit format docs

help: ## Print this index
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'
	@echo '  Brokers: BROKER=redis (default), BROKER=rabbitmq or BROKER=sqs, e.g. make run BROKER=sqs'

install: .venv/.installed ## Create .venv from uv.lock

.venv/.installed: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --quiet
	@touch $@

# Only where no uv is in the PATH: one of our own, which nothing else sees.
var/tools/bin/uv:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed; `python3` is older.' >&2; exit 1; }
	@python3 -c 'import ensurepip' 2>/dev/null || { echo 'Python cannot create virtual environments here. On Debian or Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing uv into var/tools ...'
	@python3 -m venv var/tools
	@var/tools/bin/pip install --quiet --disable-pip-version-check 'uv>=0.9'

run: install ## Start everything: an embedded broker, SQLite, web, worker and beat (BROKER=..., PORT=8000)
	@$(PYTHON) -m app.first_run --broker $(BROKER) --port $(PORT)

order: install ## Post a sample order to the running service and show its e-mail
	@$(PYTHON) -m app.first_run.sample_order --port $(PORT)

test: install ## Run the tests on real brokers and databases (ARGS="-k name" for some)
	@$(PYTEST) -n 3 --ignore tests/conformance $(WATCHING:%=--ignore %) $(ARGS)

watch-test: install ## Test the service in operation: first run, doctor, health, telemetry; a browser; made-up requests
	@$(PYTEST) -n 3 $(WATCHING) $(ARGS)

# Each process has one broker at a time, and all the cases of a pool on it.
conformance: install ## Inject faults, on every broker or on BROKER=... only (FAULT_SECONDS=20)
	@$(PYTEST) -n 3 tests/conformance --fault-seconds $(FAULT_SECONDS) $(if $(filter-out file,$(origin BROKER)),--broker $(BROKER)) $(ARGS)

chaos: install ## Faults of every kind at random times, then the ledger is reconciled (MINUTES=10, BROKER=..., SEED=...)
	@$(PYTHON) -m tests.conformance.chaos --minutes $(MINUTES) --broker $(BROKER) $(if $(SEED),--seed $(SEED))

celery-suite: install ## Run Celery's own integration suite against durable tasks (BROKER=..., ARGS=--stock)
	@$(PYTHON) -m tests.celery_suite --broker $(BROKER) $(ARGS)

compose-test: install ## Bring each compose file up, order, find the e-mail, and take it down (needs Docker)
	@$(PYTHON) -m pytest tests/compose_check.py $(ARGS)

bench-quick: install ## Measure in 3 minutes, side by side with plain Celery, what durability costs
	@$(PYTHON) -m benchmarks --seconds 3 $(ARGS)

pictures: install ## Make the pictures of the console anew (docs/images)
	@$(PYTHON) -m tests.browser.pictures

check: install ## Lint, types, import rules, migrations, generated files
	@ruff check .
	@ruff format --check .
	@mypy .
	@lint-imports --no-cache
	@$(PYTHON) manage.py makemigrations --check --dry-run
	@$(PYTHON) manage.py spectacular --validate --fail-on-warn | diff docs/openapi.yaml - || { echo 'docs/openapi.yaml is out of date: make docs' >&2; exit 1; }

# bandit's rules are part of `make check` already (ruff's S), line by line; here it says whether anything is grave.
audit: install ## Look for known vulnerabilities in what is locked, and for unsafe code
	@mkdir -p var
	@$(UV) export --frozen --quiet --no-emit-project --all-extras --all-groups --output-file var/locked.txt
	@$(UV) tool run --quiet pip-audit@2.10.1 --disable-pip --progress-spinner off --requirement var/locked.txt
	@$(UV) tool run --quiet bandit@1.9.4 --quiet --severity-level high --recursive app brokers console orders outbox settings workers

docs: install ## Write docs/settings.md, .env.example and docs/openapi.yaml anew
	@$(PYTHON) manage.py config --write-docs
	@$(PYTHON) manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

format: install ## Format the code
	@ruff check --fix .
	@ruff format .
