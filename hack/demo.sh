#!/usr/bin/env bash
# The demo where it can run; elsewhere, its control-plane part.
set -euo pipefail
cd "$(dirname "$0")/.."

why=
if [[ "$(uname -s)" != Linux ]]; then
  why="this is not Linux"
elif [[ "$(id -u)" != 0 ]]; then
  why="this is not root"
fi
if [[ -z "$why" ]]; then
  exec go run ./test/cluster/cmd/demo
fi

cat >&2 <<TEXT
demo: $why. Left out: the node with KubeVirt, the guest, the rules in its pod's
demo: network namespace, and the packets.
demo: What runs is the control-plane part: the operator on a real API server,
demo: from a MeshedVirtualMachine to its children, with pods and Jobs played by the test.
TEXT
exec hack/test.sh -count=1 -v -run='^TestLifecycle$' ./test/integration
