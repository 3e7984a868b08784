# `make demo` and `make test` do everything on a fresh machine: environment, build, run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.with-all
SOURCES := pyproject.toml setup.py CMakeLists.txt $(shell find csrc -type f)
# Python compiles what it imports, most of what is installed never. The warning is that of setuptools about any editable
# installation.
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-compile

.PHONY: demo test bench lint format wheel env clean

env: $(VENV)/.demo

# With what builds the package, so that nothing is downloaded a second time for a build of its own.
$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip setuptools pybind11 cmake ninja
	touch $@

# Torch before all others, so that what needs any torch is content with this one.
$(VENV)/.torch: requirements/check.txt | $(VENV)/.python
	$(INSTALL) --constraint requirements/check.txt torch
	touch $@

$(VENV)/.native: $(SOURCES) | $(VENV)/.python
	PATH="$(abspath $(BIN)):$$PATH" $(INSTALL) --no-build-isolation --no-deps --editable .
	touch $@

# What the extra $* asks for; the native module is left as it is.
define extra
	XAI_FAST_NATIVE=off XAI_FAST_CUDA=off $(INSTALL) --constraint requirements/check.txt --no-build-isolation --editable '.[$(1)]'
endef

# foolbox is only read for its photos, ISLP for a table: what they depend on is not needed for that.
$(VENV)/.demo: pyproject.toml $(VENV)/.torch $(VENV)/.native
	$(call extra,demo)
	$(INSTALL) --no-deps foolbox ISLP
	touch $@

$(VENV)/.with-%: $(VENV)/.demo
	$(call extra,$*)
	touch $@

# zennit is only compared with; torch-geometric, whose networks are explained, comes with what its import needs.
$(STAMP): requirements/check.txt $(VENV)/.demo
	$(INSTALL) --requirement requirements/check.txt
	$(call extra,all)
	$(INSTALL) --no-deps zennit torch-geometric psutil xxhash
	touch $@

demo: $(VENV)/.demo
	$(BIN)/xai-fast demo --out out

test: $(STAMP)
	$(BIN)/python tests/run_states.py

# The documentation and its tools. It needs no network; EXAMPLES=0 leaves the examples unexecuted.
EXAMPLES ?= 1
.PHONY: docs docs-tools
docs-tools: $(VENV)/.docs
docs: docs-tools
	XAI_FAST_EXAMPLES=$(EXAMPLES) $(BIN)/python -m sphinx -W --keep-going -n -q -d build/docs/doctrees docs build/docs/html
	@echo build/docs/html/index.html

$(VENV)/.docs: $(STAMP) requirements/docs.txt
	$(BIN)/python -m pip install --quiet -r requirements/docs.txt
	touch $@

bench: $(STAMP)
	$(BIN)/python -m benchmarks

lint: $(VENV)/.with-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu')

format: $(VENV)/.with-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu')

# libgomp stays out: torch brings the OpenMP runtime, and a second one would have threads of its own.
wheel: $(VENV)/.with-wheel
	rm -rf build/wheel && mkdir -p build/wheel dist
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir build/wheel .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --exclude libgomp.so.1 --wheel-dir dist build/wheel/*.whl

clean:
	rm -rf build dist out $(VENV) $(VENV)-pure *.egg-info xai_fast/_native*.so
