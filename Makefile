# karec's commands. `make help` lists them. Everything is put into $(VENV) and build/, nothing elsewhere.
#
# Packages come from wherever pip is told to look. For example, on a machine without a GPU, to get torch without CUDA:
#   make demo PIP_ARGS="--extra-index-url <PyTorch's CPU wheel index, see pytorch.org>"

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
TESTS ?= tests
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))
CASES ?= 500
SEED ?=
MUTANTS ?= 0
PACKAGES ?=
K ?=

# OpenMP's threads wait in busy loops: with more of them than cores, tests take twice the processor time.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
export PATH := $(abspath $(VENV))/bin:$(PATH)
# Without stored bytecode each process that imports torch compiles it again, which takes 3 s of processor time.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
NATIVE_BUILD := build/native
BUILT_FROM := $(shell find native kernels -path native/tests -prune -o -type f \( -name '*.?pp' -o -name '*.[ch]' -o -name '*.inc' -o -name '*.pyx' -o -name '*.pxi' -o -name CMakeLists.txt \) -print)
BUILT_BY := pyproject.toml setup.py CMakeLists.txt

.PHONY: help demo docs test test-all test-python test-native test-packages test-long test-arm sanitize sanitize-thread sanitize-address test-assertions fuzz fuzz-bindings fuzz-bundle fuzz-cascades soak test-hosts damage-data mutants mutants-native bench bench-smoke check ruff mypy imports clang-format clang-tidy typed clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24
	@echo
	@echo '  PYTHON=python3.13  the interpreter, 3.11 or newer       VENV=.venv  where packages go'
	@echo '  PIP_ARGS=…         for pip, for example an index        TESTS=…     what make test-python runs'
	@echo '  WORKERS=1          processes that run Python tests, four at most unless said'

demo: $(VENV)/.run  ## set up, run the whole cascade on a synthetic platform, report in build/demo/report.html
	$(BIN)/karec demo --out build/demo --report build/demo

docs: $(VENV)/.dev  ## write docs/steps.md from the docstrings and settings of the steps
	$(BIN)/python docs/generate_steps.py

test: test-native test-python  ## set up, run the tests of C++ and Python, in at most 8 minutes of two cores

test-all: test  ## the tests, then the slow ones: packages, sanitizers, fuzzing, long trainings; an hour or more
	$(MAKE) --keep-going $$($(BIN)/python .ci/parts.py --all)

test-python: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/pytest -n $(WORKERS) --dist loadfile $(TESTS)

test-native: $(NATIVE_BUILD)/.configured
	$(BIN)/cmake --build $(NATIVE_BUILD)
	$(BIN)/ctest --test-dir $(NATIVE_BUILD) --parallel "$$(nproc)" --output-on-failure --no-tests=error

test-packages: $(VENV)/.dev  ## the slow tests: wheels, sdist and editable installs in fresh environments (needs PyPI)
	CCACHE_BASEDIR="$${TMPDIR:-/tmp}" $(BIN)/pytest -n $(WORKERS) -m slow tests

test-long: $(VENV)/.dev  ## the long tests: trainings that are stopped and resume, settings searches, huge files
	$(ONE_THREAD) $(BIN)/pytest -n $(WORKERS) --dist loadfile -m long $(TESTS)

ARM_TOOLS := $(shell command -v aarch64-linux-gnu-g++ && command -v qemu-aarch64)
test-arm: $(VENV)/.dev  ## the C++ tests compiled for 64-bit ARM, under qemu
ifeq ($(ARM_TOOLS),)
	@echo 'skipped: make test-arm needs apt-get install g++-aarch64-linux-gnu qemu-user'
else
	$(BIN)/cmake -S . -B build/aarch64 -G Ninja -DKAREC_TESTS=ON -DCMAKE_TOOLCHAIN_FILE=native/cmake/aarch64-linux-gnu.cmake
	$(BIN)/cmake --build build/aarch64
	$(BIN)/ctest --test-dir build/aarch64 --parallel "$$(nproc)" --output-on-failure --no-tests=error
endif

test-hosts: $(VENV)/.dev  ## three services behind haproxy with one Valkey and one S3 server: kills, pauses, restarts, rolled bundles
	$(ONE_THREAD) $(BIN)/pytest -s -m '' tests/many_hosts

sanitize: sanitize-thread sanitize-address  ## the C++ tests under ThreadSanitizer, then under Address and UB sanitizers

sanitize-thread: $(VENV)/.dev
	$(call sanitized,thread,thread,--target threaded,--label-regex threads)

sanitize-address: $(VENV)/.dev
	$(call sanitized,address,address$(comma)undefined)

comma := ,
# Its folder, the sanitizers, what is built and what is run if not all.
define sanitized
	$(BIN)/cmake -S . -B build/sanitize-$(1) -G Ninja -DKAREC_TESTS=ON -DKAREC_SANITIZE=$(2)
	$(BIN)/cmake --build build/sanitize-$(1) $(3)
	$(BIN)/ctest --test-dir build/sanitize-$(1) --parallel "$$(nproc)" --output-on-failure --no-tests=error $(4)
endef

ASSERTED := -O1 -D_GLIBCXX_ASSERTIONS -DPYBIND11_DETAILED_ERROR_MESSAGES -DPYBIND11_ASSERT_GIL_HELD_INCREF_DECREF
test-assertions: $(VENV)/.dev typed  ## tests on arrays, with assertions of the C++ library and of pybind11 (the GIL)
	$(BIN)/cmake -S . -B build/assertions -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="$(ASSERTED)" $(PYTHON_MODULE)
	$(BIN)/cmake --build build/assertions --target _native
	rm -rf build/assertions/site && mkdir build/assertions/site && cp -rs $(CURDIR)/karec build/assertions/site/
	cp --remove-destination build/assertions/native/_native*.so build/assertions/site/karec/
	PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/build/assertions/site $(ONE_THREAD) $(BIN)/pytest -n $(WORKERS) --dist loadfile \
	  tests/diversity tests/index tests/kernels tests/native/test_binding_inputs.py

fuzz: $(VENV)/.dev  ## altered files, and every C function with arguments at random, under Address and UB sanitizers
	$(BIN)/cmake -S . -B build/sanitize-address -G Ninja -DKAREC_TESTS=ON -DKAREC_SANITIZE=address,undefined
	$(BIN)/cmake --build build/sanitize-address --target fuzz

fuzz-bindings: $(VENV)/.dev  ## every Python binding with random arguments: no crash, no hang (CASES=200000 SEED=…)
	$(BIN)/python tests/native/fuzz_bindings.py $(CASES) $(SEED)

fuzz-bundle: $(VENV)/.dev  ## bundles whose parts are altered at random, with hashes that match (CASES=500 SEED=…)
	$(BIN)/python tests/bundle/fuzz_bundle.py $(CASES) $(SEED)

fuzz-cascades: $(VENV)/.dev  ## random cascades: no work is lost, invented or doubled between steps (CASES=500 SEED=…)
	$(BIN)/python tests/many_cascades.py $(CASES) $(SEED)

soak: $(VENV)/.dev build/demo/karec.toml  ## requests, events, swaps and killed workers for half an hour: no event is lost or counted twice
	OMP_NUM_THREADS=1 $(BIN)/python bench/service/soak.py build/demo/karec.toml

build/demo/karec.toml: $(VENV)/.run
	$(BIN)/karec demo --out build/demo

damage-data: $(VENV)/.dev  ## every damage to every column of the data files that karec knows, a quarter of an hour
	KAREC_DAMAGES=all $(BIN)/pytest tests/data/test_damaged_files.py -q -m 'not slow'

mutants: $(VENV)/.dev  ## mutation tests of the Python code, an hour or more (MUTANTS=40: a sample of each package; PACKAGES='recall logs')
	$(call install-group,mutants)
	$(BIN)/python tests/mutants.py --sample $(MUTANTS) $(PACKAGES)

mutants-native: $(VENV)/.dev  ## mutants of the C++ library from a list, each against its tests
	$(BIN)/python tests/native/mutants.py

bench-smoke: $(VENV)/.dev  ## run each benchmark once on small inputs, without timing
	$(ONE_THREAD) $(BIN)/pytest -n $(WORKERS) --dist loadgroup bench --benchmark-disable

bench: $(VENV)/.bench  ## benchmarks and their baselines in one table, and in build/bench.json (K=dpp: those with dpp in their name)
	$(BIN)/python bench $(K)

check: ruff mypy imports clang-format clang-tidy  ## format, lint, types, import rules (make -k check: all of them, whatever fails)

ruff: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy: $(VENV)/.dev typed
	$(BIN)/mypy -p karec

imports: $(VENV)/.dev typed
	$(BIN)/lint-imports --no-cache --no-logo

clang-format: $(VENV)/.dev
	find native -name '*.[ch]pp' -o -name '*.[ch]' -o -name '*.inc' | xargs $(BIN)/clang-format --dry-run -Werror

clang-tidy: build/tidy/.configured
	find native -name '*.cpp' | sort | xargs -P "$$(nproc)" -n 1 $(BIN)/clang-tidy --quiet -p build/tidy

# Type checkers and import-linter look for karec.kernels inside karec/, where it is installed. Git ignores the link.
typed:
	@ln -sfn ../kernels karec/kernels

clean:  ## remove what was built and installed here
	rm -rf build dist *.egg-info $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find karec kernels -name '*.so' -delete
	rm -f karec/kernels

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "karec needs Python 3.11 or newer as '$(PYTHON)': apt-get install python3 python3-venv python3-dev, or PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "karec needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V): PYTHON=python3.13, for example" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || { echo "the headers of $(PYTHON) are missing: apt-get install python3-dev" >&2; exit 1; }
	@command -v $(CXX) >/dev/null || { echo "karec needs a C++20 compiler as '$(CXX)': apt-get install g++, or CXX=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Each stamp says for which sources the modules were built; the editable install follows changes in karec/ by itself.
$(VENV)/.run: $(BUILT_BY) $(BUILT_FROM) | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -e '.[lab,train]'
	touch $@

$(VENV)/.dev: $(BUILT_BY) $(BUILT_FROM) | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -e '.[dev]'
	touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml | $(VENV)/.dev
	$(call install-group,bench)
	touch $@

# Installs a dependency group of pyproject.toml; `pip install --group` needs pip 25.1.
define install-group
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["$(1)"], sep="\n")' \
	  | $(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -r /dev/stdin
endef

CMAKE_INPUT := CMakeLists.txt native/CMakeLists.txt native/tests/CMakeLists.txt
CONFIGURE = $(BIN)/cmake --fresh -S . -G Ninja -DKAREC_TESTS=ON
PYTHON_MODULE = -DKAREC_PYTHON=ON -DPython_EXECUTABLE=$(abspath $(BIN))/python \
  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"

$(NATIVE_BUILD)/.configured: $(CMAKE_INPUT) | $(VENV)/.dev
	$(CONFIGURE) -B $(NATIVE_BUILD)
	touch $@

# Never built: how each file would be compiled is all that clang-tidy needs.
build/tidy/.configured: $(CMAKE_INPUT) | $(VENV)/.dev
	$(CONFIGURE) -B build/tidy $(PYTHON_MODULE)
	touch $@
