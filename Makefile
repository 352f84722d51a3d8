# Two commands do everything on a fresh Debian 12: `make test` and `make demo`.
# What is missing is installed by `make deps` (as root or through `sudo -n`); HELIOS_NO_INSTALL=1 forbids that.

PYTHON  ?= $(shell tests/tools/python.sh)
PRESET  ?= release
BUILD   := build/$(PRESET)
VENV    := .venv

PACKAGES := cmake ninja-build pkg-config gcc g++ librocksdb-dev lemon libssl-dev libsqlite3-dev libidn-dev libuv1-dev libpq-dev libpcre2-dev check python3-dev python3-venv

.PHONY: asan-python build test demo bench deps check-deps unit python-tests check slt asan tsan format clean soak sim fuzz bench-time wire fuzz-wire
.PHONY: processes sim-faults mirror-kill recall bench-vectors bench-threads bench-pgbench bench-requests

build: check-deps
	@tests/tools/build.sh $(PRESET) $(PYTHON)

# Everything a change must pass: unit tests, house rules, the Python suite.
test: build
	@tests/tools/run-tests.sh $(PRESET)

demo: build
	@tests/tools/test-packages.sh $(VENV)
	@$(VENV)/bin/python tests/demo/demo.py

bench: build
	@$(VENV)/bin/python tests/bench/bench.py $(BENCH)

# Vector searches beside hnswlib (needs numpy and hnswlib in $(VENV)).
bench-vectors: build
	@$(VENV)/bin/python tests/bench/vectors.py $(BENCH)

# The recall tests, with a minute of random operations.
recall: build
	@tests/tools/test-packages.sh $(VENV)
	@HELIOS_RECALL_SECONDS=60 $(VENV)/bin/python -m pytest -q -p no:cacheprovider tests/recall

# The past and branches against the present.
bench-time: build
	@cmake --build $(BUILD) --target bench_time >/dev/null
	@$(BUILD)/tests/bench_time

# Writers in 1 to 16 threads beside stock SQLite in WAL mode, synced and not, with controls.
bench-threads: build
	@cmake --build $(BUILD) --target bench_threads
	@folder=$$(mktemp -d) && $(BUILD)/tests/bench_threads $$folder $(BENCH); code=$$?; rm -rf $$folder; exit $$code

# helios-server beside PostgreSQL 15 under pgbench, both durable (apt-get install postgresql-15). BENCH="--clients 8 --work tpcb"
bench-pgbench: build
	@$(PYTHON) tests/bench/pgbench.py --server $(BUILD)/server/helios-server $(BENCH)

# A connection for each request, beside stock sqlite3.
bench-requests: build
	@$(VENV)/bin/python tests/bench/requests.py $(BENCH)

unit: build
	@cd $(BUILD) && ctest --output-on-failure -j2

python-tests: build
	@tests/tools/test-packages.sh $(VENV)
	@$(VENV)/bin/python -m pytest -q tests/py tests/iso

check:
	@python3 tests/check/house.py

# The long checks: crashes by kill -9 and by power loss.
# Crashes at random points of opening, taking in, merging, restoring and writing app.db.
mirror-kill: build
	@$(BUILD)/tests/sim_mirror kill 200
	@$(BUILD)/tests/sim_mirror power 200 2

soak: build
	@HELIOS_THOROUGH=1 $(BUILD)/tests/test_kv_crypt
	@HELIOS_THOROUGH=1 $(BUILD)/tests/test_kv_fault
	@$(BUILD)/tests/sim_crash kill 200
	@$(BUILD)/tests/sim_crash kill 200 3 off
	@$(BUILD)/tests/sim_crash power 1000

# Four processes write one database whose owner is killed 50 times.
processes: build
	@tests/tools/test-packages.sh $(VENV)
	@$(VENV)/bin/python tests/sim/processes.py 50 4

# Seeds against the model: 10,000 in memory, 1,000 on disk with crashes and failing disks.
sim: build
	@$(BUILD)/tests/sim_model 1 10000
	@$(BUILD)/tests/sim_model -disk -crashes 4 1 1000

# Wire tests in their full numbers, and CPython's own sqlite3 tests through a server.
wire: build
	@tests/tools/test-packages.sh $(VENV)
	@HELIOS_WIRE_LONG=1 $(VENV)/bin/python -m pytest -q -s tests/wire
	@cd $(BUILD) && PYTHONPATH=python $(abspath $(VENV))/bin/python $(CURDIR)/tests/wire/stdlib_over_wire.py

# Faults planted into the engine: each must be found within 100 seeds.
sim-faults: build
	@ninja -C $(BUILD) sim_planted >/dev/null
	@for fault in 1 2 3 4 6 7; do $(BUILD)/tests/sim_planted -plant $$fault 1 100 || exit 1; done
	@$(BUILD)/tests/sim_planted -plant 5 -disk -crashes 4 1 100

# Looks for crashes, hangs and answers that are not SQLite's; seeds are printed.
fuzz:
	@$(MAKE) --no-print-directory build PRESET=asan
	@$(PYTHON) tests/fuzz/fuzz_sql.py --seconds $(or $(SECONDS),60)
	@$(PYTHON) tests/fuzz/fuzz_files.py --seconds $(or $(SECONDS),60)
	@cmake --build build/asan --target fuzz_hnsw >/dev/null && build/asan/tests/fuzz_hnsw 20000 $$(date +%s)

# Hostile sessions and mutated messages under both sanitizers; how much of the parser the corpus reaches.
fuzz-wire:
	@tests/fuzz/coverage.sh
	@cmake --preset asan >/dev/null && cmake --build build/asan --target helios-server fuzz_proto >/dev/null
	@cmake --preset tsan >/dev/null && cmake --build build/tsan --target helios-server >/dev/null
	@build/asan/tests/fuzz_proto tests/fuzz/corpus/wire 2000000 $$(date +%s)
	@python3 tests/fuzz/fuzz_wire.py --preset asan --seconds $(or $(SECONDS),60)
	@python3 tests/fuzz/fuzz_wire.py --preset tsan --seconds $(or $(SECONDS),60)

asan tsan:
	@$(MAKE) --no-print-directory build PRESET=$@
	@cd build/$@ && ctest --output-on-failure -j2

asan-python:
	@$(MAKE) --no-print-directory build PRESET=asan
	@tests/tools/asan-python.sh

format:
	@git ls-files '*.c' '*.h' '*.cc' | xargs clang-format -i

deps:
	@tests/tools/deps.sh install $(PACKAGES)

check-deps:
	@tests/tools/deps.sh check $(PACKAGES)

clean:
	rm -rf build $(VENV)
