#!/usr/bin/env bash
# test-packages.sh VENV: what the Python tests and the demonstration need from PyPI (pytest; pyproj for its proj.db).
set -euo pipefail
"$1/bin/python" -c 'import pyproj, pytest' 2>/dev/null && exit 0
"$1/bin/python" -m pip install --quiet --disable-pip-version-check pyproj pytest
