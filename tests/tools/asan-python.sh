#!/usr/bin/env bash
# The Python tests against the module built with the address and undefined-behaviour sanitizers (make asan first).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(tests/tools/python.sh)
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc
export PYTHONPATH="$PWD/build/asan/python:$(ls -d .venv/lib/python3*/site-packages 2>/dev/null || true)"
exec "$python" -m pytest -q -p no:cacheprovider tests/py "$@"
