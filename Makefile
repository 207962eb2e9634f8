# The commands of the project. Each sets up what it needs; none needs Docker, an account or a key.
PYTHON ?= python3
BIN := .venv/bin
LOCKED := --quiet --require-hashes --no-deps --disable-pip-version-check
RUNTIME := .venv/.runtime
DEVELOPMENT := .venv/.development
REFERENCES := rag-assistant microservices agent-gateways mcp-hybrid preview-fargate

.PHONY: up setup test check style types documents bench bench-gateway bench-retrieval bench-startup reference requirements lock clean

up: $(RUNTIME)  ## Run the platform; ARGS="--port 8800" passes options on
	@$(BIN)/slipway up $(ARGS)

setup: $(DEVELOPMENT)  ## Install everything for working on Slipway

test: $(DEVELOPMENT)  ## Run the tests; ARGS="-n 0" runs them one by one
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(ARGS)

check: style types documents  ## Style, types, layers, dependencies, documents; side by side with `make -j`

style: $(DEVELOPMENT)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry src

types: $(DEVELOPMENT)
	$(BIN)/mypy

documents: $(DEVELOPMENT)
	$(BIN)/python -m pytest tests/fitness -m documents $(ARGS)

bench: $(DEVELOPMENT)  ## Every benchmark; ARGS="--quick" for the short ones
	$(BIN)/python -m bench.startup $(ARGS)
	$(BIN)/python -m bench.retrieval $(ARGS)
	$(BIN)/python -m bench.gateway $(ARGS)
	$(BIN)/python -m bench.plan $(ARGS)

bench-gateway: $(DEVELOPMENT)  ## The gateway beside nginx and LiteLLM
	$(BIN)/python -m bench.gateway $(ARGS)

bench-retrieval: $(DEVELOPMENT)
	$(BIN)/python -m bench.retrieval $(ARGS)

bench-startup: $(DEVELOPMENT)
	$(BIN)/python -m bench.startup $(ARGS)

reference: $(DEVELOPMENT)  ## docs/reference anew: a page and a picture of each blueprint
	$(BIN)/slipway reference --output docs/reference $(foreach name,$(REFERENCES),--manifest src/slipway/manifest/blueprints/$(name).yaml)

requirements: $(DEVELOPMENT)  ## Every requirement with the tests that prove it
	$(BIN)/python -m tests.requirements

lock: $(DEVELOPMENT)  ## Resolve the dependencies again
	requirements/compile

clean:
	rm -rf .venv

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Slipway needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv

$(RUNTIME): requirements/build.lock requirements/serve.lock pyproject.toml | $(BIN)/python
	$(BIN)/pip install $(LOCKED) -r requirements/build.lock
	$(BIN)/pip install $(LOCKED) -r requirements/serve.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(DEVELOPMENT): $(RUNTIME) requirements/dev.lock
	$(BIN)/pip install $(LOCKED) -r requirements/dev.lock
	touch $@
