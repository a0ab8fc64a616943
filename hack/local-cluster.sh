#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the command of the local cluster (test/cluster/cmd/local-cluster) in the
# current directory.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
go -C "$root/test" build -o "$root/bin/local-cluster" ./cluster/cmd/local-cluster
exec "$root/bin/local-cluster" "$@"
