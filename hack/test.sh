#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests that need no cluster, and reports the tests that it omits with
# the reason. Arguments replace the default arguments of "go test", including the
# packages.
set -euo pipefail
cd "$(dirname "$0")/.."

# gotestsum calls this script again for the stream of results. Only the outer call prints notes.
note() { [[ "${MESHVM_TEST_STREAM:-}" == json ]] || printf 'test: %s\n' "$*" >&2; }
cluster() { hack/local-cluster.sh "$@"; }

# The API server comes from $KUBEBUILDER_ASSETS or is built from Go modules and cached.
if [[ -z "${KUBEBUILDER_ASSETS:-}" ]]; then
  note "etcd and kube-apiserver come from the cache. The first build from source takes many minutes."
  if ! KUBEBUILDER_ASSETS="$(cluster assets)"; then
    note "no API server: omitting the CEL and integration tests. Set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver, for example from setup-envtest."
    unset KUBEBUILDER_ASSETS
    [[ "$(uname -s)" != Linux ]] || exit 1
  fi
fi
if [[ -n "${KUBEBUILDER_ASSETS:-}" ]]; then
  export KUBEBUILDER_ASSETS MESHVM_REQUIRE_ENVTEST=1
fi

# The programs of KubeVirt and Istio that write rules. The kernel tests run them together with our rules.
if [[ "$(uname -s)" != Linux ]]; then
  note "not Linux: omitting the tests with netfilter and network namespaces"
elif ! command -v nft >/dev/null || ! command -v iptables-restore >/dev/null; then
  note "nft or iptables is not installed: omitting the tests with netfilter. Run: apt-get install nftables iptables"
elif [[ "$(id -u)" != 0 ]]; then
  note "not root: omitting the tests with netfilter and network namespaces"
else
  MESHVM_MASQUERADE="${MESHVM_MASQUERADE:-$(cluster tool masquerade)}"
  MESHVM_PILOT_AGENT="${MESHVM_PILOT_AGENT:-$(cluster tool pilot-agent)}"
  export MESHVM_MASQUERADE MESHVM_PILOT_AGENT
fi

# run [FLAG...] PACKAGE... runs "go test" in the modules of the packages. The packages come first, because
# "go test" passes everything after a flag of the tests, such as -update, to the tests.
run() {
  local flags=() root=() nested=() istio=() argument status=0
  for argument in "$@"; do
    case "$argument" in
      ./test/upstream/istio/*) istio+=("./${argument#./test/upstream/istio/}") ;;
      ./test | ./test/*) nested+=("./${argument#./test/}") ;;
      ./*) root+=("$argument") ;;
      *) flags+=("$argument") ;;
    esac
  done
  ((${#root[@]} == 0)) || go test "${root[@]}" "${flags[@]}" || status=1
  ((${#nested[@]} == 0)) || go -C test test "${nested[@]}" "${flags[@]}" || status=1
  # The flags are those of the local cluster (test/cluster/builder), so that both share compiled packages.
  ((${#istio[@]} == 0)) || CGO_ENABLED=0 GOWORK=off go -C test/upstream/istio test -tags=disable_pgv -trimpath -buildvcs=false -gcflags=all=-dwarf=false \
    "${istio[@]}" "${flags[@]}" || status=1
  return "$status"
}

if [[ $# -gt 0 ]]; then
  run "$@"
  exit
fi
if [[ "${MESHVM_TEST_STREAM:-}" == json ]]; then
  run -json -count=1 -timeout=40m ./... ./test/... ./test/upstream/istio/...
  exit
fi
# At the end, gotestsum prints the output of failed tests, the reasons of skipped
# tests, and the counts.
exec env MESHVM_TEST_STREAM=json "${GOTESTSUM:?run make test}" --format pkgname --junitfile bin/junit.xml --raw-command -- hack/test.sh
