#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs all fuzz tests of the module sequentially, each for the given time.
set -euo pipefail
cd "$(dirname "$0")/.."

time="${1:-20s}"
found=0
while IFS=: read -r file name; do
  found=$((found + 1))
  printf '=== %s in %s\n' "$name" "$(dirname "$file")"
  go test -run='^$' -fuzz="^$name\$" -fuzztime="$time" "./$(dirname "$file")"
done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' api cmd controllers internal | sed 's/:func /:/')
echo "ran $found fuzz tests for $time each"
