# The programs of `make bench`; used by tests/bench/run.mjs:  make -f tests/bench/bench.mk BUILD=build/release bench-programs
# The TLS priorities come from the daemon's own object.
include Makefile

NOSYNC := $(BUILD)/tests/bench/nosync.so
BENCH := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(filter-out tests/bench/nosync.c,$(wildcard tests/bench/*.c)))
.PHONY: bench-programs
bench-programs: $(BENCH) $(NOSYNC)

$(BUILD)/tests/bench/http_floor: $(BUILD)/libapi.a $(BUILD)/libbase.a
$(BUILD)/tests/bench/log: $(foreach l,support core hsm storage base,$(BUILD)/lib$(l).a)
$(BUILD)/tests/bench/query: $(foreach l,support feed core hsm storage base,$(BUILD)/lib$(l).a)
$(BUILD)/tests/bench/verify: $(BUILD)/libverify.a
$(NOSYNC): tests/bench/nosync.c
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -fPIC -shared $< -o $@
$(BENCH): $(BUILD)/%: $(BUILD)/%.o
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(call pkglibs,$(LIBS_api) $(LIBS_storage) $(LIBS_hsm) $(LIBS_base)) -lssl -lcmocka -ldl
