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
step "pyproj for the demonstration" tests/tools/pyproj.sh .venv
step "Python tests" .venv/bin/python -m unittest discover -s tests/py -t tests/py
step "recall floors" .venv/bin/python -m unittest discover -s tests/recall
exit $failed
