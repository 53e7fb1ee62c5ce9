# make run: set up what is needed, then talk.   make test: everything that has to be true.
# The environment is .venv, made with pip alone; it is brought up to date when pyproject.toml or constraints.txt change.

MAKEFLAGS += --no-print-directory
GRAPH ?= graphs/optimized.yaml
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What is imported is compiled then; to compile all that there is (most of it torch's) takes longer than to fetch it.
INSTALL := $(PIP) install --no-compile
INPUTS := pyproject.toml constraints.txt
# What others wrote has an environment of its own: none of it is needed here, and none of it may decide our versions.
THEIRS := .venv-interop

# Hundreds of programs of ours are started by the tests: none has to be compiled twice, whatever the machine's settings are.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test lint check-types pytest compare steps bench mutants soak interop schema wheel-test format clean help

run: $(VENV)/.installed  ## hold a spoken conversation (with the bundled caller, where there is no sound hardware)
	@$(BIN)/flow run $(GRAPH) $(ARGS)

test: lint pytest  ## what CI runs: style, types, tests (under 10 minutes on two cores)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

check-types: $(VENV)/.installed-dev
	$(BIN)/mypy

# With ARGS: what they name, in one.
pytest: $(VENV)/.installed-dev
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	$(BIN)/python -m tests
endif

compare: $(VENV)/.installed-dev  ## the old sequential program against the streaming one, over a rented GPU's network: report.html
	$(BIN)/flow compare graphs/baseline.yaml graphs/optimized.yaml --network runpod --html report.html $(ARGS)

steps: $(VENV)/.installed-dev  ## the way from one to the other, step by step, with what each gains (the last step's model comes in a wheel)
	@$(INSTALL) --no-deps pipecat-ai
	$(BIN)/flow compare graphs/baseline.yaml graphs/steps/*.yaml $(ARGS)

bench: $(VENV)/.installed-dev  ## what the engine costs, against bare asyncio in the same run
	$(BIN)/python -m tests.benchmarks $(ARGS)

mutants: $(VENV)/.installed-dev  ## break each rule of the engine in turn: the tests have to notice
	$(BIN)/python -m tests.mutants $(ARGS)

soak: $(VENV)/.installed-dev  ## the long tests
	$(BIN)/pytest -m soak --timeout=1800 $(ARGS)

$(THEIRS)/.installed: tests/interop/requirements.txt
	@echo "Installing servers and clients of others (a few minutes) …"
	@sh .ci/make_venv $(THEIRS)
	@$(THEIRS)/bin/python -m pip --disable-pip-version-check --quiet install --no-compile -r $<
	@touch $@

interop: $(VENV)/.installed-dev $(THEIRS)/.installed  ## against what others wrote, as it is: llama.cpp, a Kokoro server, the clients of OpenAI and Deepgram
	$(BIN)/pytest -m interop $(ARGS)

schema: $(VENV)/.installed  ## write graphs/schema.json, which editors use, from the node classes
	$(BIN)/flow schema > graphs/.schema.json && mv graphs/.schema.json graphs/schema.json

wheel-test: $(VENV)/.installed-dev  ## the wheel, in a fresh environment, in an empty folder
	sh tests/wheel.sh

format: $(VENV)/.installed-dev  ## put the code into the one layout
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove what was built and the environment
	rm -rf $(VENV) $(THEIRS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(VENV)/.python:
	@sh .ci/make_venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python $(INPUTS)
	@echo "Installing (the first time takes a few minutes: torch is large) …"
	@$(INSTALL) -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.python $(INPUTS)
	@echo "Installing what tests need (the first time takes a few minutes) …"
	@$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.installed $@
