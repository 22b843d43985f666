# Every target works on a fresh machine with Python 3.11 or later, make and git, without any preparation.

# The first Python that is new enough; else python3, so that tools/environments.py reports its version.
PYTHON ?= $(or $(shell for python in python3 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done),python3)
PORT ?= 3000
BIN := .venv/bin
STAGE := .build/package
BUILD := .aws-sam/build

.DEFAULT_GOAL := help
.PHONY: help serve test browser fuzz clients check bench format build artefacts deploy sam-local lock openapi clean

help: ## list the targets
	@while IFS= read -r line; do case $$line in \
	  [a-z]*:*'## '*) printf '  make %-9s %s\n' "$${line%%:*}" "$${line#*## }" ;; \
	esac; done <Makefile

serve: ## run the API on localhost with demo data (PORT=3000; FRESH=1 starts over; DEBUG=1 runs one process; VERBOSE=1 prints logs)
	@$(PYTHON) tools/environments.py
	@exec $(BIN)/ordering serve --port="$(PORT)" $(if $(FRESH),--fresh) $(if $(DEBUG),--debug) $(if $(VERBOSE),--verbose) \
	  $(if $(ENGINE_PORT),--engine-port="$(ENGINE_PORT)") $(if $(ENGINE_HOST),--engine-host="$(ENGINE_HOST)")

# Each worker, and each process that a test starts, would compile every module again.
test: export PYTHONDONTWRITEBYTECODE :=

test: ## run all tests but those of browser, clients and fuzz, or those in ARGS
	@$(PYTHON) tools/environments.py --all
ifdef ARGS
	@$(BIN)/pytest $(ARGS)
else
	@# Three processes keep two cores busy, because tests of stacks wait. The dearest files come first, so that none is last.
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not timing" \
	  tests/gateway tests/client tests/engine tests/contract tests/unit
	@$(BIN)/pytest -m timing tests/gateway
endif

browser: ## test the reference and the guides in a Chromium (which it installs as root with apt-get, if there is none)
	@$(PYTHON) tools/environments.py
	@$(PYTHON) tools/environments.py browser
	@$(BIN)/ordering dev chromium
	@$(BIN)/pytest --no-skips tests/browser

clients: ## make clients by openapi-generator, compile them, and order by them (openapi-generator needs no Java of the machine)
	@$(PYTHON) tools/environments.py
	@$(PYTHON) tools/environments.py node openapi-generator
	@$(BIN)/pytest --no-skips tests/openapi_generator

fuzz: ## send requests that schemathesis makes from the document to the real stack (minutes; each night)
	@$(PYTHON) tools/environments.py
	@$(PYTHON) tools/environments.py fuzz
	@$(BIN)/pytest --no-skips tests/fuzz

check: ## check format, lint, types, import rules, generated documents, and the template and its translation
	@$(PYTHON) tools/environments.py development sam judges node
	@$(BIN)/python tools/check.py

bench: ## run the benchmarks and write docs/benchmarks.md (those of the artefacts need Python 3.13: the functions' runtime)
	@$(PYTHON) tools/environments.py development engine sam
	@$(BIN)/python -m benchmarks $(ARGS)

format: ## format the code
	@$(PYTHON) tools/environments.py development
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

build: ## build the deployable artefacts in .aws-sam/build (ARCHITECTURE=arm64 or x86_64; needs Python 3.13: the functions' runtime)
	@$(PYTHON) tools/environments.py development sam
	@$(BIN)/python tools/check.py template
	@$(MAKE) --no-print-directory artefacts

artefacts:
	@$(BIN)/python tools/package.py --stage $(STAGE) "$(ARCHITECTURE)"
	@SAM_CLI_TELEMETRY=0 PYTHON="$(CURDIR)/$(BIN)/python" PACKAGE="$(CURDIR)/tools/package.py" \
	  .venvs/sam/bin/sam build --template-file $(STAGE)/template.yaml --build-dir $(BUILD)
	@$(BIN)/python tools/package.py --verify $(BUILD)

deploy: ## deploy what `make build` built into an AWS account (TO=dev or prod: a section of samconfig.toml; ARGS=Name=value; docs/releases.md)
	@$(PYTHON) tools/environments.py development sam
	@$(BIN)/python tools/deploy.py "$(TO)" $(ARGS)

sam-local: ## build for `sam local`, and print what to type (docs/sam-local.md; needs `make serve` running, and Python 3.13)
	@$(PYTHON) tools/environments.py development sam
	@$(MAKE) --no-print-directory artefacts STAGE=.build/sam-local/package BUILD=.build/sam-local/build \
	  ARCHITECTURE="$$(uname -m | sed 's/^aarch64$$/arm64/')"
	@$(BIN)/ordering sam-local

openapi: ## write docs/openapi.json
	@$(PYTHON) tools/environments.py development
	@$(BIN)/ordering dev openapi

lock: ## update the locked requirements to the newest versions
	@$(PYTHON) tools/environments.py --lock

clean: ## delete environments, builds and the local run's data
	rm -rf .venv .venvs .build .aws-sam .ordering .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
