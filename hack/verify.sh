#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs all checks that need no test run. It fails if a generated file or a
# go.mod is outdated, or if the work tree differs from the commit.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n=== %s\n' "$*"; }

step "generated code, manifests and docs"
make --no-print-directory generate manifests

step "drawings"
make --no-print-directory drawings

step "documentation site and links"
make --no-print-directory docs

step "manifests build"
make --no-print-directory kustomize

step "OLM bundle and catalog"
make --no-print-directory bundle catalog

step "Helm chart"
make --no-print-directory chart

step "modules are tidy"
git ls-files 'go.mod' '**/go.mod' | while read -r file; do
  (cd "$(dirname "$file")" && go mod tidy -diff) || { echo "$file is not tidy: make tidy"; exit 1; }
done

step "sizes and imports"
make --no-print-directory check

step "lint"
make --no-print-directory lint-api lint

step "spelling and language"
make --no-print-directory prose

step "nothing changed"
if [[ -n "$(git status --porcelain)" ]]; then
  git status --short
  git --no-pager diff
  echo "the work tree differs from the commit: run 'make update tidy', review the difference and commit."
  exit 1
fi
echo "verify: all checks passed"
