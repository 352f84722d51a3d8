#!/usr/bin/env bash
# The demonstration and its test need pyproj's proj.db: installed into the virtual environment when missing.
set -euo pipefail
"$1/bin/python" -c 'import pyproj' 2>/dev/null && exit 0
"$1/bin/python" -m pip install --quiet --disable-pip-version-check pyproj
