#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests that need no cluster, and says what it leaves out and why.
# Arguments go to "go test" in place of the usual ones, packages included.
set -euo pipefail
cd "$(dirname "$0")/.."

# The inner call, which makes the stream of results, repeats nothing that the outer one said.
note() { [[ "${MESHVM_TEST_STREAM:-}" == json ]] || printf 'test: %s\n' "$*" >&2; }
cluster() { hack/local-cluster.sh "$@"; }

# The real API server: from $KUBEBUILDER_ASSETS, or built from Go modules and
# kept in the cache.
if [[ -z "${KUBEBUILDER_ASSETS:-}" ]]; then
  note "etcd and kube-apiserver come from the cache; the first time they are built from source, which takes many minutes"
  if ! KUBEBUILDER_ASSETS="$(cluster assets)"; then
    note "there is no API server: left out are the CEL and the integration tests, unless you set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver (setup-envtest makes one)"
    unset KUBEBUILDER_ASSETS
    [[ "$(uname -s)" != Linux ]] || exit 1
  fi
fi
if [[ -n "${KUBEBUILDER_ASSETS:-}" ]]; then
  export KUBEBUILDER_ASSETS MESHVM_REQUIRE_ENVTEST=1
fi

# KubeVirt's and Istio's own writers of rules, beside which ours are tested.
if [[ "$(uname -s)" != Linux ]]; then
  note "not Linux: left out are the tests with real netfilter and network namespaces"
elif ! command -v nft >/dev/null || ! command -v iptables-restore >/dev/null; then
  note "no nft or no iptables: left out are the tests with real netfilter; apt-get install nftables iptables"
elif [[ "$(id -u)" != 0 ]]; then
  note "not root: left out are the tests with real netfilter and network namespaces"
else
  MESHVM_MASQUERADE="${MESHVM_MASQUERADE:-$(cluster tool masquerade)}"
  MESHVM_PILOT_AGENT="${MESHVM_PILOT_AGENT:-$(cluster tool pilot-agent)}"
  export MESHVM_MASQUERADE MESHVM_PILOT_AGENT
fi

# run [FLAG...] PACKAGE... runs "go test" in each module that has one of the packages.
run() {
  local flags=() root=() nested=() argument status=0
  for argument in "$@"; do
    case "$argument" in
      ./test | ./test/*) nested+=("./${argument#./test/}") ;;
      ./*) root+=("$argument") ;;
      *) flags+=("$argument") ;;
    esac
  done
  ((${#root[@]} == 0)) || go test "${flags[@]}" "${root[@]}" || status=1
  ((${#nested[@]} == 0)) || go -C test test "${flags[@]}" "${nested[@]}" || status=1
  return "$status"
}

if [[ $# -gt 0 ]]; then
  run "$@"
  exit
fi
if [[ "${MESHVM_TEST_STREAM:-}" == json ]]; then
  run -json -count=1 -timeout=20m ./... ./test/...
  exit
fi
# gotestsum calls this script for the stream of results, and prints at the end
# the output of failed tests and the reasons of skipped ones.
exec env MESHVM_TEST_STREAM=json "${GOTESTSUM:?run make test}" --format pkgname --junitfile bin/junit.xml --raw-command -- hack/test.sh
