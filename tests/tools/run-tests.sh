#!/usr/bin/env bash
# Runs every fast test and ends with the runners' own summary lines; fails when one of them does.
set -uo pipefail
cd "$(dirname "$0")/../.."
preset=${1:-release}
failed=0
step() {
  echo "== $1"
  shift
  "$@" || { failed=1; echo "FAILED: $*"; }
}
step "house rules" python3 tests/check/house.py
step "unit tests" bash -c "cd build/$preset && ctest --output-on-failure -j2"
step "packages for the Python tests" tests/tools/test-packages.sh .venv
step "Python tests" .venv/bin/python -m pytest -q -p no:cacheprovider tests/py tests/iso
step "wire tests" .venv/bin/python -m pytest -q -p no:cacheprovider tests/wire
step "recall floors" .venv/bin/python -m pytest -q -p no:cacheprovider tests/recall
exit $failed
