#!/usr/bin/env bash
# Runs the tests that need no cluster, and says what it leaves out and why.
# Arguments go to "go test".
set -euo pipefail
cd "$(dirname "$0")/.."

note() { printf 'test: %s\n' "$*" >&2; }

# The real API server: taken from $KUBEBUILDER_ASSETS, or built from Go modules
# and kept in the cache.
if [[ -z "${KUBEBUILDER_ASSETS:-}" ]]; then
  note "etcd and kube-apiserver come from the cache; the first time they are built from source (minutes)"
  KUBEBUILDER_ASSETS="$(go run ./test/cluster/cmd/local-cluster assets)"
fi
export KUBEBUILDER_ASSETS MESHVM_REQUIRE_ENVTEST=1

case "$(uname -s)" in
Linux)
  if [[ "$(id -u)" != 0 ]]; then
    note "not root: tests with real netfilter and network namespaces are left out; sudo make test runs them"
  fi
  ;;
*)
  note "not Linux: tests with real netfilter and network namespaces are left out"
  ;;
esac

if [[ $# -gt 0 ]]; then
  exec go test "$@" ./...
fi
go build -o bin/testreport ./hack/testreport
go test -json -count=1 -timeout=20m ./... | bin/testreport
