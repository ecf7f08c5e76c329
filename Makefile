SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: build lint format crds test test-unit test-kernel test-interop test-racks test-kubernetes bench demo demo-down clean dependencies

# Node reads this file at every start, which triples its start-up time; nothing here needs it after `npm ci`.
NODE := env -u NODE_EXTRA_CA_CERTS node

CLANG ?= clang
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter \
	-I/usr/include/$(shell uname -m)-linux-gnu
BPF_PROGRAMS := $(wildcard bpf/*.c)
BPF_OBJECTS := $(BPF_PROGRAMS:bpf/%.c=dist/bpf/%.o)

build: dependencies node_modules dist/cni/tombolo $(BPF_OBJECTS)
	@echo "make: bundling dist/tombolo and dist/cni/tombolo.cjs"
	@TOMBOLO_COMMIT=$$(git rev-parse --short HEAD 2>/dev/null) $(NODE) build.mjs

dist/bpf/%.o: bpf/%.c $(wildcard bpf/*.h)
	@mkdir -p $(@D)
	@echo "make: compiling $@"
	@$(CLANG) $(BPF_CFLAGS) -c $< -o $@

dist/cni/tombolo: $(wildcard cni/launcher.c)
	@mkdir -p $(@D)
	@if [ -n "$<" ]; then echo "make: compiling $@" && gcc -O2 -static -Wall -Wextra -Werror -o $@ $<; fi

node_modules: package-lock.json
	@echo "make: installing npm packages"
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules

# Debian packages; `make test` adds those of the peers it tests against.
dependencies:
	@scripts/install-dependencies.sh build

lint: node_modules
	@$(NODE) node_modules/@biomejs/biome/bin/biome check .
	@$(NODE) node_modules/typescript/bin/tsc

format: node_modules
	@$(NODE) node_modules/@biomejs/biome/bin/biome check --write .

# deploy/crds.yaml from src/store/kinds; a unit test says when it is behind.
crds: node_modules
	@$(NODE) --import tsx scripts/generateCrds.ts

RUN_TESTS = $(NODE) --import tsx --test --test-reporter=spec
UNIT_TESTS = $(shell find src cni -name '*.test.ts' 2>/dev/null | sort)
KERNEL_TESTS = $(shell find test/kernel -name '*.test.ts' 2>/dev/null | sort)
INTEROP_TESTS = $(shell find test/interop -name '*.test.ts' 2>/dev/null | sort)
RACK_TESTS = $(shell find test/racks -name '*.test.ts' 2>/dev/null | sort)

test: lint build test-unit test-kernel test-interop test-racks

test-unit: node_modules
	@echo "make: unit and property tests"
	@$(RUN_TESTS) $(UNIT_TESTS)

# Serially: namespaces, the neighbour table and two cores are shared.
test-kernel: build
	@scripts/install-dependencies.sh test
	@echo "make: kernel tests, in network namespaces of their own"
	@$(if $(KERNEL_TESTS),$(RUN_TESTS) --test-concurrency=1 $(KERNEL_TESTS),echo "make: there is none yet")

test-interop: build
	@scripts/install-dependencies.sh test
	@echo "make: interoperation tests against FRR, BIRD and GoBGP"
	@$(if $(INTEROP_TESTS),$(RUN_TESTS) --test-concurrency=1 $(INTEROP_TESTS),echo "make: there is none yet")

test-racks: build
	@scripts/install-dependencies.sh test
	@echo "make: two racks of nodes between the switches of others"
	@$(RUN_TESTS) --test-concurrency=1 $(RACK_TESTS)

demo: build
	@scripts/install-dependencies.sh demo
	@scripts/demo.sh up

demo-down:
	@scripts/demo.sh down

# One by one: they measure this machine. The others in test/bench are what these are written with.
BENCHES := cni services bgp forwarding outside ipam

bench: $(BENCHES:%=bench-%)

bench-%: build
	@scripts/install-dependencies.sh bench
	@echo "make: measuring $*, into docs/benchmarks.md"
	@$(NODE) --import tsx test/bench/$*.ts

# What needs a control plane; a target that does nothing would look like one that passes.
test-kubernetes:
	@echo "make: there is no test against a Kubernetes control plane yet" >&2; exit 1

clean:
	rm -rf dist
