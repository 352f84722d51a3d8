#!/usr/bin/env bash
# Which interpreter the module is built for: the first of these that has its headers, 3.8 to 3.13.
for candidate in python3 python3.11 python3.12 python3.13 python3.10 python3.9 python3.8 /usr/bin/python3; do
  path=$(command -v "$candidate" 2>/dev/null) || continue
  "$path" - <<'EOF' 2>/dev/null && { "$path" -c 'import sys; print(sys.executable)'; exit 0; }
import os, sys, sysconfig, sqlite3, venv
ok = (3, 8) <= sys.version_info[:2] <= (3, 13)
sys.exit(0 if ok and os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')) else 1)
EOF
done
echo /usr/bin/python3
