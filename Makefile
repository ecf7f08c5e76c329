SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: build lint format crds test test-unit test-kernel test-kernel-6.1 test-interop test-racks test-kubernetes bench demo demo-down clean dependencies

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

# Also where several jobs run at once: no compiler before it is installed.
dist/cni/tombolo $(BPF_OBJECTS): | dependencies

dist/bpf/%.o: bpf/%.c $(wildcard bpf/*.h bpf/maps/*.h)
	@mkdir -p $(@D)
	@echo "make: compiling $@"
	@$(CLANG) $(BPF_CFLAGS) -c $< -o $@

dist/cni/tombolo: $(wildcard cni/launcher.c)
	@mkdir -p $(@D)
	@if [ -n "$<" ]; then echo "make: compiling $@" && gcc -O2 -static -Wall -Wextra -Werror -o $@ $<; fi

node_modules: package-lock.json
	@echo "make: installing npm packages"
	@npm ci --prefer-offline --fetch-retries=5 --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules

# Debian packages, all at once; tests add those of the peers they test against.
DEPENDENCIES = build
dependencies:
	@scripts/install-dependencies.sh $(DEPENDENCIES)

lint: node_modules
	@$(NODE) node_modules/@biomejs/biome/bin/biome check .
	@$(NODE) node_modules/typescript/bin/tsc

format: node_modules
	@$(NODE) node_modules/@biomejs/biome/bin/biome check --write .

# deploy/crds.yaml from src/store/kinds; a unit test says when it is behind.
crds: node_modules
	@$(NODE) --import tsx scripts/generateCrds.ts

# The runner ends what is stuck and prints last what failed; two files at a time, each with namespaces and names of its own.
RUN_TESTS = $(NODE) --import tsx test/runner/run.ts
UNIT_TESTS = src cni test/runner

test test-kernel test-interop test-racks: DEPENDENCIES = test

# What takes long comes first.
test: lint build
	@echo "make: all tests"
	@$(RUN_TESTS) test/kernel/nodeReload.test.ts test/racks test/interop test/kernel $(UNIT_TESTS)

test-unit: node_modules
	@echo "make: unit and property tests"
	@$(RUN_TESTS) $(UNIT_TESTS)

test-kernel: build
	@echo "make: kernel tests, in network namespaces of their own"
	@$(RUN_TESTS) test/kernel

# On the kernel that Debian 12 comes with, in a virtual machine. Without KVM that takes twenty times as long, so these are
# the tests of what depends on the kernel most; test/runner/run.ts runs others in the same way.
OLD_KERNEL_TESTS = $(patsubst %,test/kernel/%.test.ts,ebpf netlink attachNic attachVeth bpfBudget bpfTranslation bpfTuples)
test-kernel-6.1: build
	@echo "make: kernel tests on Debian 12's kernel"
	@scripts/on-kernel.sh linux-image-amd64 $(RUN_TESTS) --slots 1 $(OLD_KERNEL_TESTS)

test-interop: build
	@echo "make: interoperation tests against FRR, BIRD and GoBGP"
	@$(RUN_TESTS) test/interop

test-racks: build
	@echo "make: two racks of nodes between the switches of others"
	@$(RUN_TESTS) test/racks

demo: build
	@scripts/install-dependencies.sh demo
	@scripts/demo.sh up

demo-down:
	@scripts/demo.sh down

# One by one: they measure this machine. The others in test/bench are what these are written with.
BENCHES := cni services packets bgp forwarding outside ipam

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
