# Holdfast. `make run`, `make test`; MODE=release|asan|tsan|fuzz; BUILD= puts the objects elsewhere; V=1 shows the commands.
MODE ?= release
BUILD ?= build/$(MODE)
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config
NODE ?= build/node/bin/node
PREFIX ?= /usr
SYSCONFDIR ?= /etc

VERSION := 0.8.0

.DEFAULT_GOAL := all
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

WARN := -Wall -Wextra -Werror -Wformat=2 -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wsign-conversion \
	-Wcast-qual -Wpointer-arith -Wwrite-strings -Wundef -Wvla -Wnull-dereference -Wimplicit-fallthrough
# A flag is used when this compiler knows it.
probe = $(shell $(CC) -Werror $(1) -x c -c /dev/null -o /dev/null 2>/dev/null && echo $(1))
HARDEN := $(call probe,-fstack-protector-strong) $(call probe,-fstack-clash-protection) $(call probe,-fcf-protection) \
	$(call probe,-ftrivial-auto-var-init=zero)

ifeq ($(MODE),asan)
OPT := -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
WARN := $(filter-out -Wnull-dereference,$(WARN))
else ifeq ($(MODE),tsan)
OPT := -O1 -g1 -fsanitize=thread -fno-omit-frame-pointer
WARN := $(filter-out -Wnull-dereference,$(WARN))
else ifeq ($(MODE),fuzz)
OPT := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined -fno-omit-frame-pointer
WARN := $(filter-out -Wnull-dereference,$(WARN))
else
OPT := -O2 -g -D_FORTIFY_SOURCE=3
endif

LIBS_base := libcrypto
LIBS_storage := sqlite3
LIBS_hsm := p11-kit-1
LIBS_api := libmicrohttpd gnutls jansson libcurl
LIBS_server := libcyaml yaml-0.1 libsystemd
LIBS_cli := libcurl jansson
LIBS_ekm_tester := libssl libcrypto jansson
LIBS_witness := libmicrohttpd libcrypto
LIBS_verify := libcrypto
PKGS := $(LIBS_base) $(LIBS_storage) $(LIBS_hsm) $(LIBS_api) $(LIBS_server) $(LIBS_cli) $(LIBS_ekm_tester)

CFLAGS_ALL := -std=gnu17 -D_GNU_SOURCE $(WARN) $(OPT) $(HARDEN) -fPIE -pthread -I. -MMD -MP \
	$(patsubst -I%,-isystem%,$(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)) $(CFLAGS)
LDFLAGS_ALL := -pie -pthread -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(OPT) $(LDFLAGS)

# One archive for each layer; a layer may use those to its right: api -> core -> {storage, hsm} -> base.
SRC_base := $(wildcard server/base/*.c)
SRC_storage := $(wildcard storage/*.c storage/sqlite/*.c)
SRC_hsm := $(wildcard hsm/*.c hsm/pkcs11/*.c)
SRC_core := $(wildcard server/core/*.c)
SRC_feed := $(wildcard server/feed/*.c)
SRC_api := $(wildcard api/*.c)
SRC_support := $(filter-out tests/support/stepper.c,$(wildcard tests/support/*.c))
SRC_verify := $(filter-out server/verify/main.c,$(wildcard server/verify/*.c))
SRC_witness := $(filter-out server/witness/main.c,$(wildcard server/witness/*.c))
LAYERS := support api feed core hsm storage base verify witness
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
$(foreach l,$(LAYERS),$(eval $(BUILD)/lib$(l).a: $(call obj,$(SRC_$(l)))))
$(BUILD)/lib%.a:
	@mkdir -p $(@D)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -c $< -o $@

# Migrations are compiled in as text.
MIGRATIONS := $(sort $(wildcard storage/sqlite/migrations/*.sql))
$(BUILD)/storage/sqlite/migrate.o: CFLAGS_ALL += -I$(BUILD)
$(BUILD)/storage/sqlite/migrate.o: $(BUILD)/migrations.inc
$(BUILD)/migrations.inc: $(MIGRATIONS) scripts/embed-sql
	@mkdir -p $(@D)
	scripts/embed-sql $(MIGRATIONS) > $@

pkglibs = $(shell $(PKG_CONFIG) --libs $(1) 2>/dev/null)
DAEMON_LIBS = $(call pkglibs,$(LIBS_server) $(LIBS_api) $(LIBS_storage) $(LIBS_hsm) $(LIBS_base))

# Freed memory is overwritten in the daemon; sanitizers bring an allocator of their own.
WIPE := $(if $(filter asan tsan fuzz,$(MODE)),,server/wipe.c)
SERVER_OBJ := $(call obj,$(WIPE) $(filter-out server/wipe.c,$(wildcard server/*.c)))
$(BUILD)/holdfastd: $(SERVER_OBJ) $(foreach l,api feed core hsm storage base,$(BUILD)/lib$(l).a)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -o $@ $(DAEMON_LIBS)

CLI_OBJ := $(call obj,$(wildcard server/cli/*.c))
VERSIONED := $(call obj,server/cli/main.c api/h_ekm.c server/core/server_backup.c server/feed/format_cef.c server/feed/format_otlp.c server/verify/main.c)
$(VERSIONED): CFLAGS_ALL += -DHOLDFAST_VERSION=$(VERSION)
$(VERSIONED): Makefile
$(BUILD)/holdfast: $(CLI_OBJ) $(BUILD)/libbase.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -o $@ $(call pkglibs,$(LIBS_cli) $(LIBS_base))

EKM_TESTER_OBJ := $(call obj,$(wildcard tests/ekm-tester/*.c))
$(BUILD)/holdfast-ekm-test: $(EKM_TESTER_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -o $@ $(call pkglibs,$(LIBS_ekm_tester))

# The witness stands on another machine, and shares no source with the server either.
$(BUILD)/holdfast-witness: $(call obj,server/witness/main.c) $(BUILD)/libwitness.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -o $@ $(call pkglibs,$(LIBS_witness))

# The offline verifier shares no source with the server. It builds where nothing else does: `make verify` needs a compiler and libcrypto.
$(BUILD)/holdfast-verify: $(call obj,server/verify/main.c) $(BUILD)/libverify.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -o $@ $(call pkglibs,$(LIBS_verify))
.PHONY: verify
verify: $(BUILD)/holdfast-verify

.PHONY: all
all: $(BUILD)/holdfastd $(BUILD)/holdfast $(BUILD)/holdfast-ekm-test $(BUILD)/holdfast-witness $(BUILD)/holdfast-verify

# A C test is one file in tests/{unit,contract,fault}; it may use every layer, tests/support, server/config.c and server/daemon.c.
# The slowest first, so that no core waits for another at the end.
TEST_SRC := $(wildcard tests/fault/*.c tests/unit/*.c tests/contract/*.c)
TESTS := $(patsubst %.c,$(BUILD)/%,$(TEST_SRC))
$(TESTS): $(BUILD)/%: $(BUILD)/%.o
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(DAEMON_LIBS) -lcmocka $(TEST_LIBS)
# Tests link only the layers that they name, so that one broken layer does not stop the others' tests:
# tests/LAYER_name.c -> support and the layers below LAYER.
need_base := base
need_storage := storage base
need_hsm := hsm base
need_core := core hsm storage base
need_feed := feed core hsm storage base
need_api := api feed core hsm storage base
need_server := base
need_verify := verify base
need_witness := witness base
layer_of = $(firstword $(subst _, ,$(notdir $(1))))
$(foreach t,$(TESTS),$(eval $(t): $(BUILD)/libsupport.a $(foreach l,$(need_$(call layer_of,$(t))),$(BUILD)/lib$(l).a)))
SERVER_TESTS := $(foreach t,$(TESTS),$(if $(filter server,$(call layer_of,$(t))),$(t)))
$(SERVER_TESTS): $(call obj,$(WIPE) $(wildcard server/config*.c) server/daemon.c)

$(BUILD)/tests/unit/core_restore_report: $(BUILD)/server/restore_report.o
# What SQLite leaves behind is looked for where freed memory is overwritten, as in the daemon.
$(BUILD)/tests/unit/storage_erased: $(call obj,$(WIPE))

-include $(wildcard $(shell find $(BUILD) -name '*.d' 2>/dev/null))
-include tests/tests.mk

# State of the demonstration stays in RUN_DIR; PORT is its port (scripts/run-demo).
.PHONY: run
run: all
	@BIN=$(BUILD) NODE=$(NODE) scripts/run-demo

.PHONY: install
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(SYSCONFDIR)/holdfast
	install -m 755 $(BUILD)/holdfastd $(BUILD)/holdfast $(BUILD)/holdfast-ekm-test $(BUILD)/holdfast-verify $(BUILD)/holdfast-witness $(DESTDIR)$(PREFIX)/bin
	for unit in holdfastd holdfast-witness; do \
		sed 's|@PREFIX@|$(PREFIX)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g' server/$$unit.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service && \
		chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service || exit 1; \
	done
	install -m 644 scripts/holdfast.yaml.example $(DESTDIR)$(SYSCONFDIR)/holdfast/holdfast.yaml.example
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(BUILD)/holdfast completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/holdfast
	chmod 644 $(DESTDIR)$(PREFIX)/share/bash-completion/completions/holdfast

.PHONY: clean
clean:
	rm -rf build
