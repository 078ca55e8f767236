# Tests and checks. Included by the Makefile.

# Preloaded into the daemon by the tests that interrupt it; sanitizers want to be first themselves.
STEPPER := $(if $(filter release,$(MODE)),$(BUILD)/tests/support/stepper.so)
$(BUILD)/tests/support/stepper.so: tests/support/stepper.c
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -U_FORTIFY_SOURCE -fPIC -shared $< -o $@

# Every C test, then the official SDK, the integration tests and the Cosmos DB client against a daemon; ends with "N passed, N failed, N skipped".
.PHONY: test
test: all $(TESTS) $(STEPPER)
	@HOLDFAST_BIN=$(BUILD) NODE=$(NODE) scripts/run-tests $(TESTS) -- tests/sdk tests/integration tests/cosmos

# All that is built for `test`, and nothing run.
.PHONY: programs
programs: all $(TESTS) $(STEPPER)

# The C tests alone: what needs no Node.
.PHONY: test-c
test-c: $(TESTS)
	@scripts/run-tests $(TESTS)

# Those in which threads meet; in the others TSan would find nothing, slowly.
TSAN_TESTS := $(foreach t,$(filter-out %_wycheproof %_vectors %_model %_docs %_json %_jwt %_network %_policy %_templates %_leaf %_format %_decide %_report %_histogram,$(TESTS)),$(if $(findstring /storage_,$(t))$(findstring /verify_,$(t)),,$(t)))
.PHONY: test-tsan
test-tsan: $(TSAN_TESTS)
	@scripts/run-tests $(TSAN_TESTS)

# asan also lets the official SDK talk to an instrumented daemon.
.PHONY: test-asan
test-asan: all $(TESTS)
	@HOLDFAST_BIN=$(BUILD) NODE=$(NODE) scripts/run-tests $(TESTS) -- tests/sdk
.PHONY: asan tsan
asan:
	@$(MAKE) --no-print-directory MODE=asan BUILD=build/asan test-asan
tsan:
	@TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp $$TSAN_OPTIONS" $(MAKE) --no-print-directory MODE=tsan BUILD=build/tsan test-tsan

# ---- fuzz: tests/fuzz/LAYER_name.c with LLVMFuzzerTestOneInput; seeds in tests/fuzz/corpus/LAYER_name/, new inputs stay under build/ ----
FUZZ_SECONDS ?= 30
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/*.c))
$(FUZZERS): $(BUILD)/%: $(BUILD)/%.o
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer $(filter %.o,$^) $(filter %.a,$^) -o $@ $(DAEMON_LIBS)
$(foreach t,$(FUZZERS),$(eval $(t): $(foreach l,$(need_$(call layer_of,$(t))),$(BUILD)/lib$(l).a)))
.PHONY: fuzz fuzz-all
fuzz:
	@$(MAKE) --no-print-directory MODE=fuzz BUILD=build/fuzz CC=clang fuzz-all
fuzz-all: $(FUZZERS)
	@scripts/run-fuzz $(FUZZ_SECONDS) $(FUZZERS)

.PHONY: bench
bench: all
	@HOLDFAST_BIN=$(BUILD) $(NODE) tests/bench/run.mjs
# 100,000 keys in one vault beside 100; takes minutes to make them.
.PHONY: bench-keys
bench-keys: all
	@HOLDFAST_BIN=$(BUILD) $(NODE) tests/bench/keys.mjs
# EKM's latency at 200 requests a second against its 250 ms; fails when the target is missed.
.PHONY: bench-ekm
bench-ekm: all
	@HOLDFAST_BIN=$(BUILD) $(NODE) tests/bench/ekm.mjs
# What one tenant at ten times its limit costs another; fails when that is 20 % of its throughput or more.
.PHONY: bench-noisy
bench-noisy: all
	@HOLDFAST_BIN=$(BUILD) $(NODE) tests/bench/noisy.mjs

# A vault of 10,000 keys is shredded while others work: its time, and the others' p99 beside their undisturbed one.
.PHONY: bench-shred
bench-shred: all
	@HOLDFAST_BIN=$(BUILD) $(NODE) tests/bench/shred.mjs

# What durable events cost: unwraps a second, beside those with a disk whose sync is free; fails below 0.9.
.PHONY: bench-durable
bench-durable: all
	@HOLDFAST_BIN=$(BUILD) $(NODE) tests/bench/durable.mjs
# A log of BENCH_EVENTS (10 million: minutes, and 10 GB under TMPDIR): appends, starts, proofs, bytes; holdfast-verify's speed; fails when a target is missed.
.PHONY: bench-log
bench-log: all
	@HOLDFAST_BIN=$(BUILD) $(NODE) tests/bench/log.mjs

# Questions to a log of QUERY_EVENTS (10 million: about ten minutes, and 10 GB under TMPDIR): pages by each indexed member, and what the index costs; fails when a target is missed.
.PHONY: bench-query
bench-query:
	@HOLDFAST_BIN=$(BUILD) $(NODE) tests/bench/query.mjs

# Leaves a second that the offline verifier checks on one core; fails below 200,000.
.PHONY: bench-verify
bench-verify:
	@$(MAKE) --no-print-directory -f tests/bench/bench.mk BUILD=$(BUILD) $(BUILD)/tests/bench/verify
	@$(BUILD)/tests/bench/verify

# ---- lint; .clang-tidy, tests/cppcheck.supp and the scripts themselves say which findings are let pass, and why ----
LINT_SRC := $(sort $(wildcard server/*.c server/*/*.c api/*.c storage/*.c storage/*/*.c hsm/*.c hsm/*/*.c))
LINT_TESTS := $(sort $(wildcard tests/*/*.c))
SHELL_SCRIPTS := .ci/run $(shell grep -lE '^(\#!/bin/(ba)?sh|\# shellcheck shell)' scripts/* 2>/dev/null)
.PHONY: lint lint-layers lint-banned lint-shell lint-cppcheck lint-tidy lint-format
lint: lint-layers lint-banned lint-shell lint-format lint-cppcheck lint-tidy
lint-layers:
	$(call say,LINT,layers)
	$(Q)scripts/check-layers
lint-banned:
	$(call say,LINT,banned)
	$(Q)scripts/check-banned
lint-shell:
	$(call say,LINT,shellcheck)
	$(Q)shellcheck -x $(SHELL_SCRIPTS)
lint-format:
	$(call say,LINT,clang-format)
	$(Q)scripts/check-format $(LINT_SRC) $(LINT_TESTS) $(wildcard server/*.h server/*/*.h api/*.h storage/*.h storage/*/*.h hsm/*.h hsm/*/*.h tests/*/*.h)
# cppcheck 2.10 does not know __VA_OPT__: it does without log.h, so that log_event() is a function to it.
lint-cppcheck:
	$(call say,LINT,cppcheck)
	$(Q)cppcheck --quiet --std=c11 -DHOLDFAST_BASE_LOG_H -DHOLDFAST_VERSION=$(VERSION) --enable=warning,performance,portability --inline-suppr --suppressions-list=tests/cppcheck.supp \
		--error-exitcode=1 -j $$(nproc) -D_GNU_SOURCE -I. $(LINT_SRC)
# The analyzer follows the paths of a function up to so many nodes; clang's own limit, 225000, takes more than ten times as long, and rarely finds more.
TIDY_NODES ?= 12000
lint-tidy: $(BUILD)/migrations.inc
	$(call say,LINT,clang-tidy)
	$(Q)printf '%s\n' $(LINT_SRC) | xargs -P $$(nproc) -n 4 sh -c 'clang-tidy --quiet "$$@" \
		-- -std=gnu17 -D_GNU_SOURCE -DHOLDFAST_VERSION=$(VERSION) -I. -I$(BUILD) $(filter -isystem%,$(CFLAGS_ALL)) \
		-Xclang -analyzer-config -Xclang max-nodes=$(TIDY_NODES) 2>/dev/null' clang-tidy

# What takes too long for every commit: each call of a migration failing; 1,000 kills under load (an hour), each recovered, each acknowledged act found in the log, which holdfast-verify finds sound; and
# kill -9, a token that is away and a full disk at every step of what destroys keys.
ROUNDS ?= 1000
.PHONY: endurance
endurance: all $(filter %/fault/storage_disk,$(TESTS)) $(STEPPER)
	@HOLDFAST_FAULTS=all $(BUILD)/tests/fault/storage_disk
	@ROUNDS=$(ROUNDS) HOLDFAST_BIN=$(BUILD) $(NODE) tests/support/run.mjs --test-reporter=spec tests/integration/crash.test.mjs
	@HOLDFAST_FAULTS=all HOLDFAST_BIN=$(BUILD) $(NODE) tests/support/run.mjs --test-reporter=spec tests/integration/destruction_steps.test.mjs tests/integration/restore.test.mjs
