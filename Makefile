# Two commands for a newcomer: `make demo` and `make test`. They need make, g++, and python3 (3.10 to 3.13) with its venv
# module and headers (on Debian: python3-venv and python3-dev).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORE_BUILD := build/core
SANITIZED_BUILD := build/core-sanitized
# mypy looks for packages where their import names say; the folders of the tree are named otherwise.
TYPING := build/typing
# Has wheels for some systems only, so it is not in the extra `all`; the extra `qnn` names it for users.
QNN := "onnxruntime-qnn>=2.7"
# What pytest selects by its markers; `make test-all` selects everything.
TESTS := not big
CPP_FILES := $(wildcard cpp/include/edgetrack/*.hpp cpp/include/edgetrack/kernels/*.hpp cpp/include/edgetrack/kernels/*.cu cpp/src/*.hpp cpp/src/*.cpp cpp/python/*.hpp cpp/python/*.cpp cpp/tests/*.hpp cpp/tests/*.cpp)

.PHONY: help install demo test test-all test-fast lint test-python test-cpp format bench page-picture clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(PYTHON) is not Python 3.10 to 3.13; name another one: make PYTHON=python3.12"; exit 4; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module; install it (Debian: apt install python3-venv)"; exit 4; }
	@test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || \
		{ echo "$(PYTHON) has no headers to build against; install them (Debian: apt install python3-dev)"; exit 4; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 4; }
	$(BIN)/python -m pip install --quiet --upgrade pip

# The extension is built without isolation, so that an edit recompiles only the files that changed.
$(STAMP): $(BIN)/pip pyproject.toml setup.py $(CPP_FILES)
	$(BIN)/python -m pip install --quiet "setuptools>=77" "wheel>=0.45" "pybind11>=3.0,<4"
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[all,dev]"
	@$(BIN)/python -m pip install --quiet --only-binary :all: $(QNN) 2>/dev/null || \
		echo "There is no onnxruntime-qnn for this Python and system: tests of the target qnn are skipped."
	@touch $@

install: $(STAMP) ## Create .venv and install edgetrack with everything into it

demo: install ## Export FARTrack-Pico, prove it equal to its source, track the bundled clip, time it
	$(BIN)/edgetrack demo --output artifacts

test: install lint test-cpp test-python ## Lint, then the tests, C++ and Python, without those of large networks

test-all: TESTS :=
test-all: test ## The same with the large networks and long loops

test-fast: install ## The Python tests without the slow ones
	$(BIN)/python -m pytest -m "not slow and not big"

lint: install ## ruff, mypy and clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)
	@rm -rf $(TYPING) && mkdir -p $(TYPING)/edgetrack
	@ln -s $(CURDIR)/edgetrack/* $(CURDIR)/export $(CURDIR)/runtime $(CURDIR)/benchmarks $(TYPING)/edgetrack/
	cd $(TYPING) && $(CURDIR)/$(BIN)/python -m mypy --config-file $(CURDIR)/pyproject.toml -p edgetrack

# Training sets threads and signal handlers for a whole process, so its tests have one of their own.
test-python: install
	$(BIN)/python -m pytest -m "$(TESTS)" --ignore=tests/export/train
	$(BIN)/python -m pytest -m "$(TESTS)" tests/export/train

# The core by itself, without Python: as a release with warnings as errors, then under the sanitizers.
test-cpp: install
	$(BIN)/cmake -S cpp -B $(CORE_BUILD) -DCMAKE_BUILD_TYPE=Release -DEDGETRACK_BUILD_TESTS=ON >/dev/null
	$(BIN)/cmake --build $(CORE_BUILD) --parallel 2
	$(BIN)/ctest --test-dir $(CORE_BUILD) --output-on-failure
	$(BIN)/cmake -S cpp -B $(SANITIZED_BUILD) -DCMAKE_BUILD_TYPE=Debug -DEDGETRACK_BUILD_TESTS=ON -DEDGETRACK_SANITIZE=ON >/dev/null
	$(BIN)/cmake --build $(SANITIZED_BUILD) --parallel 2
	$(BIN)/ctest --test-dir $(SANITIZED_BUILD) --output-on-failure

format: install ## Format everything
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .
	$(BIN)/clang-format -i $(CPP_FILES)

bench: install ## Measure everything on this machine and write benchmarks/RESULTS.md (about half an hour)
	$(BIN)/python -m edgetrack.benchmarks.results

page-picture: demo ## Take docs/pictures/page.png, the page of `edgetrack serve` (needs a Chromium)
	$(BIN)/python docs/pictures/page.py artifacts/fartrack-pico-onnx-fp32

clean: ## Remove what was built
	rm -rf $(VENV) build *.egg-info edgetrack/*.so
