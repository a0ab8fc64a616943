#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the command of the local cluster (test/cluster/cmd/local-cluster) in the
# current directory.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
# The flags are those of the demo, so that both share compiled packages.
CGO_ENABLED=0 go -C "$root/test" build -trimpath -gcflags=all=-dwarf=false -o "$root/bin/local-cluster" ./cluster/cmd/local-cluster
exec "$root/bin/local-cluster" "$@"
