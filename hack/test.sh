#!/usr/bin/env bash
# Runs the tests that need no cluster, and says what it leaves out and why.
# Arguments go to "go test" in place of the usual ones, packages included.
set -euo pipefail
cd "$(dirname "$0")/.."

note() { printf 'test: %s\n' "$*" >&2; }
cluster() { go run ./test/cluster/cmd/local-cluster "$@"; }

packages=(./...)
if [[ "$(uname -s)" != Linux ]]; then
  note "not Linux: left out are the tests with real netfilter (test/kernel) and the local cluster (test/cluster)"
  packages=(./api/... ./cmd/... ./controllers/... ./hack/... ./internal/...
    ./test/builders/... ./test/cel/... ./test/integration/... ./test/testenv/...)
  if [[ -z "${KUBEBUILDER_ASSETS:-}" ]]; then
    note "set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver (setup-envtest makes one): without it the CEL and integration tests are skipped"
  fi
else
  # The real API server: from $KUBEBUILDER_ASSETS, or built from Go modules and
  # kept in the cache.
  if [[ -z "${KUBEBUILDER_ASSETS:-}" ]]; then
    note "etcd and kube-apiserver come from the cache; the first time they are built from source, which takes many minutes"
    KUBEBUILDER_ASSETS="$(cluster assets)"
  fi
  export KUBEBUILDER_ASSETS MESHVM_REQUIRE_ENVTEST=1
  if [[ "$(id -u)" != 0 ]]; then
    note "not root: the tests with real netfilter are left out unless this is a user namespace with a range of users"
  elif command -v nft >/dev/null && command -v iptables-restore >/dev/null; then
    # KubeVirt's and Istio's own writers of rules, beside which ours are tested.
    MESHVM_MASQUERADE="${MESHVM_MASQUERADE:-$(cluster tool masquerade)}"
    MESHVM_PILOT_AGENT="${MESHVM_PILOT_AGENT:-$(cluster tool pilot-agent)}"
    export MESHVM_MASQUERADE MESHVM_PILOT_AGENT
  else
    note "no nft or no iptables: the tests with real netfilter are left out; apt-get install nftables iptables"
  fi
fi

if [[ $# -gt 0 ]]; then
  exec go test "$@"
fi
mkdir -p bin
go build -o bin/testreport ./hack/testreport
go test -json -count=1 -timeout=20m "${packages[@]}" | bin/testreport
