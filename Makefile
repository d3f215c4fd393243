# The few commands a person types. `make help` lists them.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BUILD := build/release
FUZZ_SECONDS ?= 60
JOBS := $(shell nproc)

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHON
export CMAKE_GENERATOR := Ninja

.DEFAULT_GOAL := help
.PHONY: help run test check lint types format freestanding cpp-test bench bench-peers bench-exactness parity fuzz sanitize tidy wheel picture clean

help: ## list these commands
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-14s %s\n", $$1, $$2 }'

# --- set-up: stamps, so that nothing is done twice ---------------------------------------------------------------------

TOOLS := $(VENV)/tools.stamp
PACKAGE := $(VENV)/package.stamp
TEST_TOOLS := $(VENV)/test-tools.stamp
CHECKERS := $(VENV)/checkers.stamp
BENCH_TOOLS := $(VENV)/bench-tools.stamp
RELIABILITY_TOOLS := $(VENV)/reliability-tools.stamp
NATIVE := CMakeLists.txt $(wildcard cmake/*) $(shell find cpp -name '*.cpp' -o -name '*.h' -o -name '*.inl')

$(TOOLS): pyproject.toml ops/setup/requirements.py
	@ops/setup/system_packages.sh build
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python ops/setup/requirements.py build > $(VENV)/requirements-build.txt
	$(VENV)/bin/python -m pip install -q -r $(VENV)/requirements-build.txt
	@touch $@

# Editable, built in a directory that stays: a change compiles what it touches. The C++ tests share its objects.
$(PACKAGE): $(TOOLS) $(NATIVE)
	$(VENV)/bin/python -m pip install -q --no-build-isolation -e . --config-settings=build-dir=$(BUILD) \
	  --config-settings=cmake.define.FLYBALL_TESTS=ON
	@touch $@

$(TEST_TOOLS): $(TOOLS)
	$(VENV)/bin/python ops/setup/requirements.py test > $(VENV)/requirements-test.txt
	$(VENV)/bin/python -m pip install -q -r $(VENV)/requirements-test.txt
	@touch $@

$(BENCH_TOOLS): $(TOOLS)
	$(VENV)/bin/python ops/setup/requirements.py bench > $(VENV)/requirements-bench.txt
	$(VENV)/bin/python -m pip install -q -r $(VENV)/requirements-bench.txt
	@touch $@

$(RELIABILITY_TOOLS): $(TOOLS)
	$(VENV)/bin/python ops/setup/requirements.py reliability > $(VENV)/requirements-reliability.txt
	$(VENV)/bin/python -m pip install -q -r $(VENV)/requirements-reliability.txt
	@touch $@

$(CHECKERS): ops/setup/system_packages.sh $(TOOLS)
	@ops/setup/system_packages.sh check
	@touch $@

# --- the main job ------------------------------------------------------------------------------------------------------

run: $(PACKAGE) ## build everything and generate from the bundled model
	$(VENV)/bin/flyball run -p "Once upon a time" -n 120 --receipt build/receipt.json

reliability-tools: $(PACKAGE) $(RELIABILITY_TOOLS)
.PHONY: reliability-tools

reliability: reliability-tools ## whether it still holds: measure, judge, heal (ops/reliability has options)
	@ops/reliability run --allow-learning

# --- tests -------------------------------------------------------------------------------------------------------------

CPP_TESTS := $(BUILD)/tests/cpp/flyball-tests

cpp-tests-binary: $(PACKAGE)
	@cmake --build $(BUILD) --target flyball-tests
.PHONY: cpp-tests-binary

# pytest runs the C++ tests as well (tests/cpp/test_cpp.py), so that its last line counts all there is.
test: cpp-tests-binary efi $(TEST_TOOLS) $(CHECKERS) ## set up, build, and run all tests: C++, Python, layering, boot image
	@$(VENV)/bin/python -m pytest -n $(JOBS)

cpp-test: cpp-tests-binary ## the C++ tests alone; FILTER=name runs some
	@$(CPP_TESTS) $(FILTER)

sanitize: $(TOOLS) ## the C++ tests under address, undefined-behaviour and thread sanitizers
	@for kinds in address,undefined thread; do \
	  cmake -S . -B build/$$kinds -DFLYBALL_TESTS=ON -DFLYBALL_SANITIZE=$$kinds >/dev/null && \
	  cmake --build build/$$kinds --target flyball-tests && \
	  TSAN_OPTIONS=die_after_fork=0 build/$$kinds/tests/cpp/flyball-tests $(FILTER) || exit 1; \
	done

# --- checks ------------------------------------------------------------------------------------------------------------

CPP_SOURCES = $(shell find cpp tests/cpp tests/fuzz bench -name '*.cpp' -o -name '*.h' -o -name '*.inl')

check: lint types efi layering ## formatters, linters, mypy strict, layering, bare metal

lint: $(TEST_TOOLS) $(CHECKERS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@if command -v clang-format-19 >/dev/null; then clang-format-19 --dry-run --Werror $(CPP_SOURCES); fi

lint-workflows: $(TOOLS) ## actionlint, shellcheck and zizmor over .github/workflows
	@ops/lint_workflows.sh
.PHONY: lint-workflows

types: $(TEST_TOOLS) $(PACKAGE)
	$(VENV)/bin/mypy

# The boot image's program becomes data of the package. Without its compiler there is none, and what needs it says so.
EFI := python/flyball/data/flyball.efi

efi: $(CHECKERS) $(PACKAGE) ## the program for UEFI
	@if command -v clang++-19 >/dev/null && command -v lld-link-19 >/dev/null; then \
	  cmake --build $(BUILD) --target efi && { cmp -s $(BUILD)/flyball.efi $(EFI) || cp $(BUILD)/flyball.efi $(EFI); }; fi

image-matrix: efi $(TEST_TOOLS) ## every architecture and type on bare metal, receipts both ways (minutes)
	@ops/setup/system_packages.sh image
	$(VENV)/bin/python -m tests.python.image.image_matrix

image: efi ## a boot image with the bundled model: build/flyball.img
	@ops/setup/system_packages.sh image
	$(VENV)/bin/flyball image build build/flyball.img

layering: cpp-tests-binary
	$(VENV)/bin/python -m tests.layering.check_layering --build $(BUILD)
.PHONY: layering

format: $(TEST_TOOLS) $(CHECKERS) ## rewrite all sources in the project's format
	$(VENV)/bin/ruff check --fix-only -q .
	$(VENV)/bin/ruff format -q .
	clang-format-19 -i $(CPP_SOURCES)

# The unrolled kernels of the instruction sets are left out: they take minutes and are checked bit by bit.
tidy: ## clang-tidy over the core and the platform (minutes)
	@ops/setup/system_packages.sh tidy
	@ls cpp/{base,gguf,journal,tokenizer,kernels,chat,model,runtime,governor,settings,engine,receipt,policy,catalog,repl,host}/*.cpp | grep -v /avx | xargs -P $(JOBS) -I{} \
	  clang-tidy-19 --quiet {} -- -std=c++20 -O1 -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno -Icpp

# --- measuring ---------------------------------------------------------------------------------------------------------

bench: $(PACKAGE) ## speed of the bundled model, thread counts 1 and 2
	$(VENV)/bin/flyball bench speed --prompt 512 --gen 128 --threads 1,2

# `bench/peers/run` is the same: ARGS are its options.
bench-peers: ## Flyball beside llama.cpp and others, interleaved (hours; ARGS=--quick: 10 minutes)
	@ops/setup/system_packages.sh check
	@bench/peers/run $(ARGS)

FREE_ORDER := build/free-order
FREE_ORDER_PACKAGE := $(FREE_ORDER)/package.stamp

$(FREE_ORDER_PACKAGE): $(TOOLS) $(NATIVE) $(shell find python -name '*.py')
	$(VENV)/bin/python -m pip install -q --no-build-isolation --no-deps --upgrade --target $(FREE_ORDER)/site . \
	  --config-settings=build-dir=$(FREE_ORDER)/build --config-settings=cmake.define.FLYBALL_FREE_ORDER=ON
	@touch $@

bench-exactness: $(PACKAGE) $(FREE_ORDER_PACKAGE) ## what the fixed order of sums costs; MODELS="a.gguf b.gguf"
	$(VENV)/bin/python -m bench.exactness $(FREE_ORDER)/site $(MODELS) $(ARGS)

bench-tools: $(PACKAGE) $(BENCH_TOOLS)
.PHONY: bench-tools

parity: $(PACKAGE) $(TEST_TOOLS) ## accuracy against llama.cpp, live (builds llama-cpp-python with clang once)
	@ops/setup/system_packages.sh check
	@$(VENV)/bin/python -c 'import llama_cpp' 2>/dev/null || CC=clang-19 CXX=clang++-19 CMAKE_ARGS='-DGGML_NATIVE=ON -DGGML_OPENMP=OFF' \
	  $(VENV)/bin/python -m pip install -q --no-binary llama-cpp-python 'llama-cpp-python==0.3.36'
	$(VENV)/bin/python -m pytest -q -n $(JOBS) tests/golden/referee_live.py
	$(VENV)/bin/python -m tests.golden.parity_live

fuzz: $(TOOLS) ## run every fuzz target for FUZZ_SECONDS (60) each under sanitizers
	@ops/setup/system_packages.sh fuzz
	@ops/fuzz.sh $(FUZZ_SECONDS)

# --- the rest ----------------------------------------------------------------------------------------------------------

wheel: $(TOOLS) ## build a wheel into dist/
	$(VENV)/bin/python -m pip wheel -q --no-build-isolation --no-deps -w dist .

picture: $(TEST_TOOLS) ## draw docs/images/layering.svg from the real includes and imports
	$(VENV)/bin/python -m ops.layering_picture docs/images/layering.svg

reasons: $(PACKAGE) ## write docs/reasons.md from the core's registry
	$(VENV)/bin/python -m ops.reasons_page docs/reasons.md
.PHONY: reasons

clean: ## remove everything that was built
	rm -rf build dist $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
