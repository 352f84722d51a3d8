#!/usr/bin/env bash
# build.sh PRESET PYTHON: configures when needed, builds, and makes .venv/bin/python import the package.
set -euo pipefail
cd "$(dirname "$0")/../.."
preset=$1
python=$2
if [ ! -f "build/$preset/build.ninja" ] || ! grep -qF "HELIOS_PYTHON:STRING=$python" "build/$preset/CMakeCache.txt"; then
  cmake --preset "$preset" -DHELIOS_PYTHON="$python" >"build-configure.log" 2>&1 || { cat build-configure.log; rm -f build-configure.log; exit 1; }
  rm -f build-configure.log
fi
cmake --build "build/$preset"
if [ ! -x .venv/bin/python ] || [ "$(.venv/bin/python -c 'import sys; print(sys.version_info[:3])')" != "$("$python" -c 'import sys; print(sys.version_info[:3])')" ]; then
  rm -rf .venv
  "$python" -m venv .venv
fi
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$PWD/build/$preset/python" >"$site/heliosdb_sqlite.pth"
