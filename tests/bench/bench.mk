# The programs of `make bench`; used by tests/bench/run.mjs:  make -f tests/bench/bench.mk BUILD=build/release bench-programs
# The TLS priorities come from the daemon's own object.
include Makefile

BENCH := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(wildcard tests/bench/*.c))
.PHONY: bench-programs
bench-programs: $(BENCH)

$(BUILD)/tests/bench/http_floor: $(BUILD)/libapi.a $(BUILD)/libbase.a
$(BENCH): $(BUILD)/%: $(BUILD)/%.o
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(call pkglibs,$(LIBS_api) $(LIBS_base)) -lssl -ldl
