# A thin layer over the CMake presets: `make help` lists what there is.
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 30
JOBS ?= $(shell nproc)
# Of tests at a time: they mostly wait. The two sanitizers run beside each other.
TESTS_AT_ONCE = $(shell expr 2 \* $(JOBS))
SANITIZED_AT_ONCE = $(shell expr 3 \* $(JOBS) / 2)
SETUP = cmake/setup.sh
PYTHON = /usr/bin/python3
FORMATTED = $(shell git ls-files -co --exclude-standard '*.c' '*.h')

# The release preset builds in build/ itself, so that the programs are in build/bin.
.PHONY: all
all: ## build the programs into build/bin
	@command -v cmake ninja >/dev/null || { echo "cmake or ninja is missing: run $(SETUP) build page" >&2; exit 1; }
	cmake --preset release -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	cmake --build --preset release -j $(JOBS)

.PHONY: setup
setup: ## install the Debian packages that build, test and demo need
	$(SETUP) build page test demo

# No test is tried again. A figure that the scheduler decides is measured again inside of its test (tests/machine.py,
# tests/unit/test.h). The last lines name those, and what was skipped and why.
.PHONY: test
test: setup ## every test that needs no cluster, also under the sanitizers
	$(MAKE) build/dev.built build/asan.built build/tsan.built
	$(PYTHON) tests/pythons.py
	ctest --preset dev -j $(TESTS_AT_ONCE)
	$(MAKE) -j2 -Otarget asan tsan
	@$(PYTHON) tests/closing.py build/dev build/asan build/tsan

BUILT = build/dev.built build/asan.built build/tsan.built build/fuzz.built
.PHONY: $(BUILT)
$(BUILT): build/%.built:
	cmake --preset $*
	cmake --build --preset $* -j $(JOBS)

.PHONY: dev
dev: build/dev.built ## the build for working on podspy: build/dev, warnings are errors

.PHONY: demo
demo: ## collector, agent and a gunicorn service: build/demo/flamegraph.svg
	$(SETUP) build page demo
	$(MAKE) all
	deploy/docker/demo.sh

K8S_PYTEST = $(PYTHON) -m pytest -v -s -rs -o cache_dir=build/pytest-k8s tests/e2e/kubernetes
.PHONY: test-k8s
test-k8s: ## the cluster tests, against $KUBECONFIG: see tests/e2e/kubernetes/images.py
	@test -n "$$KUBECONFIG" || { echo "test-k8s: set KUBECONFIG to the cluster to test on" >&2; exit 1; }
	$(SETUP) build page test
	$(MAKE) build/dev.built
	@echo "test-k8s: install, opt-in and opt-out, trust, discovery, outages, the plugin; each step says what it took"
	$(K8S_PYTEST) --durations=5

.PHONY: images
images: ## agent, collector and demo service as build/images/*.tar
	deploy/docker/build-images.sh

.PHONY: bench
bench: ## cost of a sample, of a target, of 200 processes and of attaching, beside the peers (BENCH_ARGS=--help)
	$(SETUP) build page test bench
	cmake --preset release -B build/bench -DPODSPY_TESTS=ON
	cmake --build build/bench -j $(JOBS)
	$(PYTHON) tests/bench/run.py --build build/bench $(BENCH_ARGS)
	$(PYTHON) tests/bench/pauses.py --build build/bench
	$(PYTHON) tests/bench/native.py --build build/bench
	$(PYTHON) tests/bench/target_loss.py --build build/bench
	$(PYTHON) tests/bench/latency.py --build build/bench
	-$(PYTHON) tests/bench/many.py --build build/bench
	-$(PYTHON) tests/bench/attach.py --build build/bench

.PHONY: bench-collector
bench-collector: ## what pushed windows cost a collector: CPU, acknowledgements, memory, disk (BENCH_ARGS=--help)
	$(SETUP) build page test
	cmake --preset release -B build/bench -DPODSPY_TESTS=ON
	cmake --build build/bench -j $(JOBS) --target podspy-collector push_windows
	$(PYTHON) tests/bench/store/collector_load.py --build build/bench $(BENCH_ARGS)

LEFT_OUT_asan = left out: packages (install, static, wheel), browsers and readers of what the unit tests of formats print, \
  shares of CPU (truth.bias, truth.peers)
LEFT_OUT_tsan = left out: programs of one thread, native_threads (TSan adds threads to its target), and what asan leaves out
.PHONY: asan tsan
asan tsan: %: build/%.built ## unit and contract tests under a sanitizer
	@echo "$@: $(LEFT_OUT_$@)"
	ctest --preset $@ -j $(SANITIZED_AT_ONCE)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ_SECONDS seconds
	$(SETUP) build test fuzz
	$(MAKE) build/fuzz.built
	tests/fuzz/run.sh build/fuzz $(FUZZ_SECONDS)

.PHONY: format check-format
format: ## bring the C sources into the format of .clang-format
	clang-format -i $(FORMATTED)
check-format: ## fail where a C source is not in that format
	clang-format --dry-run --Werror $(FORMATTED)

.PHONY: install
install: all ## install under PREFIX (/usr/local), below DESTDIR
	cmake --install build

.PHONY: package
package: ## Debian packages of agent and collector: build/packages/*.deb
	$(SETUP) build page
	cmake --preset package
	cmake --build --preset package -j $(JOBS)
	cpack --config build/package/CPackConfig.cmake -B build/packages

.PHONY: static
static: ## the program without shared libraries, for any container: build/static/podspy
	$(SETUP) build
	cmake --preset static
	cmake --build --preset static -j $(JOBS)
	strip -o build/static/podspy build/static/bin/podspy-static
	@echo "build/static/podspy: $$(stat -c %s build/static/podspy) bytes"

.PHONY: wheel
wheel: static ## that program as a Python wheel, for pip: build/wheel/*.whl
	$(PYTHON) cmake/wheel.py build/static/podspy build/wheel

.PHONY: clean
clean: ## remove build/
	rm -rf build

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z0-9 -]+):.*## /\1\t/p' $(MAKEFILE_LIST) | \
	    while IFS="$$(printf '\t')" read -r name what; do printf '  %-14s %s\n' "$$name" "$$what"; done
