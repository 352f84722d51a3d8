#!/usr/bin/env bash
# What the fuzzer of messages covers of server/proto.c, by gcov; fails under 80 percent of its lines.
set -euo pipefail
cd "$(dirname "$0")/../.."
top=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
gcc -std=c17 -D_GNU_SOURCE -O0 --coverage -I"$top" "$top"/tests/fuzz/fuzz_proto.c "$top"/server/proto.c "$top"/server/auth.c "$top"/kv/base/bytes.c \
  "$top"/kv/base/status.c -o fuzz_proto -lcrypto -lidn
./fuzz_proto "$top/tests/fuzz/corpus/wire" "${1:-200000}"
for source in proto auth; do
  covered=$(gcov -n -o "$folder" fuzz_proto-$source.gcda 2>/dev/null | grep -A1 "server/$source.c'" | sed -n 's/^Lines executed:\([0-9.]*\)%.*/\1/p')
  echo "server/$source.c: $covered % of its lines"
  [ "$source" != proto ] || python3 -c "import sys; sys.exit(float('$covered') < 80)"
done
