# `make demo` and `make test` do everything on a fresh machine: environment, build, run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test bench lint format env clean

env: $(STAMP)

# Torch first and by itself, so that what needs any torch is content with this one. foolbox is only read for its photos,
# ISLP for a table, and zennit only compared with: what they depend on is not needed for that.
$(STAMP): pyproject.toml setup.py CMakeLists.txt requirements/check.txt $(shell find csrc -type f)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements/check.txt
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	$(BIN)/python -m pip install --quiet --no-deps foolbox ISLP zennit
	touch $@

demo: $(STAMP)
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

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu')

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu')

clean:
	rm -rf build out $(VENV) $(VENV)-pure *.egg-info xai_fast/_native*.so
