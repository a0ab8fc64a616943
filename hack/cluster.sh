#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs, runs and removes meshvm on the cluster of the current kubeconfig.
#
#   hack/cluster.sh install|uninstall|run|deploy|undeploy
#
# Environment: KUBECTL, KUSTOMIZE (programs), IMG, RULE_WRITER_IMG and TRACER_IMG (images),
# OVERLAY (a directory of config/ for deploy and undeploy).
set -euo pipefail
cd "$(dirname "$0")/.."

KUBECTL="${KUBECTL:-kubectl}"
OVERLAY="${OVERLAY:-default}"

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

command -v "$KUBECTL" >/dev/null || fail "$KUBECTL was not found: install kubectl or set KUBECTL="
printf 'Cluster: %s\n' "$("$KUBECTL" config current-context 2>/dev/null || echo 'no current context')" >&2

# Deleting a CRD deletes its objects and the virtual machines with them, and
# without a running operator their finalizers are never removed.
require_no_objects() {
  local kind found
  for kind in meshedvirtualmachines podnatconfigurations; do
    "$KUBECTL" get crd "$kind.meshvm.io" >/dev/null 2>&1 || continue
    found="$("$KUBECTL" get "$kind.meshvm.io" --all-namespaces --no-headers --ignore-not-found)" || fail "could not list $kind"
    [[ -z "$found" ]] || fail "$kind still exist. Remove them while the operator runs, with or without their virtual machines (docs/install.md, section Removal):
$found"
  done
}

# build writes the manifests of the overlay with the chosen images.
build() {
  [[ -d "config/$OVERLAY" ]] || fail "config/$OVERLAY does not exist: set OVERLAY= to a directory of config/"
  rm -rf dist/deploy
  mkdir -p dist/deploy
  cp config/manager/images.yaml dist/deploy/
  cat >dist/deploy/kustomization.yaml <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../config/$OVERLAY]
configurations: [images.yaml]
END
  (cd dist/deploy && "$KUSTOMIZE" edit set image \
    "localhost/meshvm/manager=$IMG" "localhost/meshvm/rule-writer=$RULE_WRITER_IMG" \
    "localhost/meshvm/tracer=$TRACER_IMG")
  "$KUSTOMIZE" build dist/deploy
}

case "${1:-}" in
  install)
    "$KUBECTL" apply -k config/crd
    ;;
  uninstall)
    require_no_objects
    "$KUBECTL" delete --ignore-not-found -k config/crd
    ;;
  run)
    # The rule-writer's Jobs run in the cluster also when the manager does not.
    "$KUBECTL" apply -f config/default/namespace.yaml
    "$KUBECTL" apply -k config/rule-writer
    export OPERATOR_NAMESPACE=meshvm-system RULE_WRITER_SERVICE_ACCOUNT=meshvm-rule-writer RULE_WRITER_IMAGE="$RULE_WRITER_IMG" TRACER_IMAGE="$TRACER_IMG"
    exec go run ./cmd/manager --config hack/run.yaml
    ;;
  deploy)
    manifests="$(build)"
    "$KUBECTL" apply -f - <<<"$manifests"
    "$KUBECTL" --namespace meshvm-system rollout status deployment/meshvm-controller-manager --timeout=5m
    ;;
  undeploy)
    require_no_objects
    manifests="$(build)"
    "$KUBECTL" delete --ignore-not-found -f - <<<"$manifests"
    ;;
  *)
    fail "usage: hack/cluster.sh install|uninstall|run|deploy|undeploy"
    ;;
esac
