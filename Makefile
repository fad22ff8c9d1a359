# Sets up this machine, builds the images, runs the tests. `make help` lists what there is.

SHELL := /bin/sh
PYTHON := .venv/bin/python
STEP := scripts/step

# A test that finds no engine fails here; it is skipped only where pytest is called by hand.
export OCBUILD_REQUIRE_ENGINE := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv venv-dev engine test-tools registry images check unit integration e2e test-images \
	cloud test bench-graph bench-reuse bench-assembler architecture shape clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

venv: ## Python environment with ocbuild in .venv
	@scripts/setup-venv

venv-dev: ## the same with what tests and checks need
	@scripts/setup-venv --dev

test-tools:
	@scripts/setup-tests

engine: ## a Docker Engine that answers; installs and starts one where there is none
	@scripts/setup-engine

registry: venv engine ## the private registry on loopback
	@$(STEP) "start the registry" .venv/bin/ocbuild registry start

images: registry ## build every image and push it to the registry
	@$(STEP) "build and push all images" .venv/bin/ocbuild all --push

check: venv-dev ## style and types, of Python and shell
	@$(STEP) "ruff check" $(PYTHON) -m ruff check .
	@$(STEP) "ruff format --check" $(PYTHON) -m ruff format --check .
	@$(STEP) "mypy" $(PYTHON) -m mypy
	@$(STEP) "shellcheck" scripts/lint-shell

unit: venv-dev ## tests that need no engine
	@$(STEP) "unit, property and contract tests" \
		$(PYTHON) -m pytest -m "not engine" tests/unit tests/property tests/contract

integration: venv-dev engine test-tools ## tests of single parts against the engine
	@$(STEP) "contract and integration tests" $(PYTHON) -m pytest tests/contract tests/integration

e2e: venv-dev engine test-tools ## tests of the installed command
	@$(STEP) "end-to-end tests" $(PYTHON) -m pytest tests/e2e

# A tree that is being edited has no commit to stand for it, but its images are to be tested all the same.
test-images: venv-dev registry ## tests of the images: builds and publishes what is missing, asks them as clients
	@$(STEP) "build and push all images" .venv/bin/ocbuild all --push --allow-dirty
	@$(STEP) "tests of the images" $(PYTHON) -m pytest tests/images

cloud: venv-dev test-tools registry ## deploy the images of this tree to this machine and to two hosts, boot guests, roll forward and back
	@$(STEP) "build and push all images" .venv/bin/ocbuild all --push --allow-dirty
	@$(STEP) "tests of the cloud" $(PYTHON) -m pytest tests/cloud

test: venv-dev test-tools check registry ## set up, check, build the images, run all tests
	@$(STEP) "build and push all images" .venv/bin/ocbuild all --push --allow-dirty
	@$(STEP) "all tests" $(PYTHON) -m pytest

bench-graph: venv ## how long the graph of 2,000 and of 4,000 Dockerfiles takes
	@$(PYTHON) benchmarks/graph.py

bench-reuse: venv-dev engine ## a release that changes nothing, beside docker buildx bake
	@PYTHONPATH=. $(PYTHON) benchmarks/reuse.py

bench-assembler: venv-dev ## how long changed leaves take to the registry, beside buildx bake
	@$(PYTHON) benchmarks/assembler.py

architecture: venv-dev ## the map in docs/architecture.md, from the modules' own first sentences
	@$(PYTHON) -m tests.support.architecture

shape: venv-dev ## the figures of the house: modules, lines, imports; FOLDER=... for another checkout
	@$(PYTHON) scripts/shape.py $(FOLDER)

bench-start: venv-dev ## how long a run with little to do takes on a tree in git, beside an older commit
	@$(PYTHON) benchmarks/start.py

clean: ## remove what these targets made in this folder; images and registry stay
	@$(STEP) "remove .venv and caches" rm -rf .venv .ocbuild .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
