# SPDX-License-Identifier: Apache-2.0
# Build, check and try meshvm. "make help" lists all targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CLUSTER := hack/local-cluster.sh
VERSION ?= dev
ARCHITECTURES ?= amd64,arm64,ppc64le,s390x
BENCH ?= .
FLOOD ?= 10000
FUZZTIME ?= 20s
# For test-e2e: tests to run and to skip, parallel tests, and other flags of "go test", for example -shuffle=on.
E2E_RUN ?= TestE2E
E2E_SKIP ?=
E2E_PARALLEL ?= 2
E2E_FLAGS ?=
# For install, run, deploy, undeploy and uninstall, which use the cluster of the current kubeconfig.
KUBECTL ?= kubectl
REGISTRY ?=
IMG ?= $(or $(REGISTRY),localhost/meshvm)/manager:$(VERSION)
RULE_WRITER_IMG ?= $(or $(REGISTRY),localhost/meshvm)/rule-writer:$(VERSION)
TRACER_IMG ?= $(or $(REGISTRY),localhost/meshvm)/tracer:$(VERSION)
OVERLAY ?= default

# Tools are Go programs in separate modules under hack/. The names of the files
# in bin/ contain a digest of their sources, so that a change rebuilds them.
digest = $(shell cat $(1) | sha256sum | cut -c1-12)
TOOLS_DIGEST := $(call digest,hack/tools/go.mod hack/tools/go.sum hack/tools/crdgen/*.go)
LINT_DIGEST := $(call digest,hack/lint/go.mod hack/lint/go.sum hack/lint/*.go)
VALE := $(CURDIR)/bin/vale-$(call digest,hack/prose/go.mod hack/prose/go.sum)
VULN := $(CURDIR)/bin/govulncheck-$(call digest,hack/vuln/go.mod hack/vuln/go.sum)
CONTROLLER_GEN := $(CURDIR)/bin/controller-gen-$(TOOLS_DIGEST)
CRDGEN := $(CURDIR)/bin/crdgen-$(TOOLS_DIGEST)
GOTESTSUM := $(CURDIR)/bin/gotestsum-$(TOOLS_DIGEST)
KUSTOMIZE := $(CURDIR)/bin/kustomize-$(TOOLS_DIGEST)
BUNDLE := $(CURDIR)/bin/olm-bundle-$(call digest,hack/olm/go.mod hack/olm/go.sum hack/olm/bundle/*.go hack/olm/bundle/files/*)
CATALOG := $(CURDIR)/bin/olm-catalog-$(call digest,hack/olm/go.mod hack/olm/go.sum hack/olm/catalog/*.go)
CHART := $(CURDIR)/bin/helm-chart-$(call digest,hack/helm/go.mod hack/helm/go.sum hack/helm/chart/*.go)
HELM_TOOL := $(CURDIR)/bin/helm-tool-$(call digest,hack/helm/go.mod hack/helm/go.sum)
LINT := $(CURDIR)/bin/golangci-lint-$(LINT_DIGEST)

MODULES := $(dir $(shell git ls-files go.mod '**/go.mod'))

##@ Help

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Try it

# "make demo KUBECONFIG=..." uses an existing cluster. A KUBECONFIG in the
# environment does not.
DEMO_FLAGS = $(if $(filter command,$(origin KUBECONFIG)),-kubeconfig '$(abspath $(KUBECONFIG))' -kubectl '$(KUBECTL)' \
  $(if $(GUEST_IMAGE),-guest-image '$(GUEST_IMAGE)') $(if $(GUEST_DISK),-guest-disk '$(GUEST_DISK)') \
  $(if $(CLIENT_IMAGE),-client-image '$(CLIENT_IMAGE)') $(if $(SHELL_IMAGE),-shell-image '$(SHELL_IMAGE)'))

.PHONY: demo
demo: ## Start a Kubernetes node with KubeVirt and Istio and show the path of a VM's packets (root, Linux); KUBECONFIG= uses an existing cluster.
	@echo 'Compiling the first program of the demo, which takes a few seconds.'
	@CGO_ENABLED=0 go -C test run -trimpath -gcflags=all=-dwarf=false ./cluster/cmd/demo $(strip $(DEMO_FLAGS))

.PHONY: demo-down
demo-down: ## Stop the cluster of "make demo". Its state and the caches remain as files.
	$(CLUSTER) down -keep

.PHONY: demo-reset
demo-reset: ## Stop the cluster of "make demo" and delete its state.
	$(CLUSTER) down

.PHONY: demo-clean
demo-clean: demo-down ## Stop the cluster of "make demo" and delete its state, built programs and images.
	$(CLUSTER) clean
	rm -rf bin

##@ Use a cluster of the current kubeconfig

CLUSTER_SH = KUBECTL='$(KUBECTL)' KUSTOMIZE='$(KUSTOMIZE)' IMG='$(IMG)' RULE_WRITER_IMG='$(RULE_WRITER_IMG)' TRACER_IMG='$(TRACER_IMG)' OVERLAY='$(OVERLAY)' hack/cluster.sh

.PHONY: install
install: ## Install the CRDs.
	$(CLUSTER_SH) install

.PHONY: uninstall
uninstall: ## Delete the CRDs; fails while objects of them exist.
	$(CLUSTER_SH) uninstall

.PHONY: run
run: install ## Run the manager on this machine; RULE_WRITER_IMG= and TRACER_IMG= name images that the nodes can pull.
	$(CLUSTER_SH) run

.PHONY: deploy
deploy: $(KUSTOMIZE) ## Deploy the operator; REGISTRY= and VERSION=, or IMG=, RULE_WRITER_IMG= and TRACER_IMG=, name the images, OVERLAY= a directory of config/.
	$(CLUSTER_SH) deploy

.PHONY: undeploy
undeploy: $(KUSTOMIZE) ## Delete what "make deploy" applied; fails while MeshedVirtualMachines exist.
	$(CLUSTER_SH) undeploy

##@ Document

SITE := $(CURDIR)/bin/site-$(call digest,docs/site/requirements.txt)

.PHONY: docs
docs: $(SITE)/installed ## Build the documentation site into dist/site and check all links.
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict

.PHONY: docs-serve
docs-serve: $(SITE)/installed ## Show the documentation site on http://127.0.0.1:8000 and rebuild it on changes.
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs serve

.PHONY: drawings
drawings: ## Render the drawings in docs/drawings from their YAML.
	go run ./hack/drawings $(wildcard docs/drawings/*.yaml)

##@ Test

.PHONY: test
test: export GOTESTSUM := $(GOTESTSUM)
test: $(GOTESTSUM) ## Run unit, CEL, integration (real API server) and kernel (real netfilter) tests.
	hack/test.sh

.PHONY: test-sequences
test-sequences: export MESHVM_SPEC_SEQUENCES = 500
test-sequences: ## Compare the results of 500 random sequences of specs with those of new objects (real API server).
	hack/test.sh -count=1 -v -timeout=40m -run='TestSpecSequences' ./test/integration/

.PHONY: test-bundle
test-bundle: ## Test the OLM bundle, the catalog, the Helm chart and the alerts with the validators and engines of their projects.
	cd hack/olm && go test -count=1 -v ./... | grep -v '^=== '
	cd hack/helm && go test -count=1 ./...
	cd hack/monitoring && go test -count=1 ./...
	cd hack/images && go test -count=1 ./...

# The images of an existing cluster, as for "make demo".
E2E_CLUSTER = $(if $(KUBECONFIG),-kubeconfig '$(abspath $(KUBECONFIG))' -kubectl '$(KUBECTL)' \
  $(if $(GUEST_IMAGE),-guest-image '$(GUEST_IMAGE)') $(if $(GUEST_DISK),-guest-disk '$(GUEST_DISK)') \
  $(if $(CLIENT_IMAGE),-client-image '$(CLIENT_IMAGE)') $(if $(SHELL_IMAGE),-shell-image '$(SHELL_IMAGE)'))

.PHONY: test-e2e
test-e2e: ## Run the end-to-end tests on a local cluster of two nodes (root, Linux), or on an existing cluster if KUBECONFIG is set.
	MESHVM_TEST_CLUSTER=1 go -C test test -count=1 -timeout=60m -v -parallel=$(E2E_PARALLEL) \
	  -run='$(E2E_RUN)' -skip='$(E2E_SKIP)' $(E2E_FLAGS) ./e2e $(strip $(E2E_CLUSTER))

.PHONY: test-skew
test-skew: export MESHVM_REQUIRE_CLUSTER = 1
test-skew: export KUBECONFIG =
test-skew: ## Run test-e2e twice more: with Istio's nftables, and with injection by the namespace label alone (root, Linux; about 40 minutes).
	MESHVM_SKEW=native-nftables $(MAKE) test-e2e
	MESHVM_SKEW=namespace-label $(MAKE) test-e2e

.PHONY: test-olm
test-olm: export MESHVM_REQUIRE_CLUSTER = 1
test-olm: ## Test the bundle with the Operator Lifecycle Manager on a separate cluster (root, Linux).
	MESHVM_TEST_OLM=1 go -C test test -count=1 -timeout=60m -v ./cluster/olm

.PHONY: soak
soak: ## 200 times create, restart and delete a VM on a local cluster and check for leftovers (root, Linux; an hour or more).
	KUBECONFIG= MESHVM_TEST_CLUSTER=1 MESHVM_SOAK=200 nice go -C test test -count=1 -timeout=300m -v -run='TestE2E/disruptive/Soak$$' ./e2e

.PHONY: bench
bench: ## Run the benchmarks; BENCH= selects them.
	hack/test.sh -run='^$$' -bench='$(BENCH)' -benchmem ./internal/... ./test/kernel/... ./test/integration/...

.PHONY: flood
flood: export MESHVM_FLOOD = $(FLOOD)
flood: ## Measure how long FLOOD objects of one tenant delay the object of another tenant.
	nice hack/test.sh -count=1 -timeout=180m -v -run='TestFloodOfOneTenant$$' ./test/integration/

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME.
	hack/fuzz.sh $(FUZZTIME)

##@ Generate and build

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Write deep copies.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: $(CONTROLLER_GEN) $(CRDGEN) ## Write CRDs, RBAC permissions and API documentation from types, markers and comments.
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=config/crd/bases
	$(CRDGEN) config/crd/bases/meshvm.io_meshedvirtualmachines.yaml
	$(CONTROLLER_GEN) rbac:roleName=meshvm-manager-role paths=./controllers/... output:rbac:dir=config/rbac
	go run ./hack/docgen

.PHONY: bundle
bundle: $(KUSTOMIZE) $(BUNDLE) ## Write the OLM bundle from config/; BUNDLE_FLAGS= takes a version and images.
	$(KUSTOMIZE) build config/manifests | $(BUNDLE) $(BUNDLE_FLAGS)

.PHONY: catalog
catalog: $(CATALOG) ## Write the file-based catalog from bundle/ and config/catalog; CATALOG_FLAGS= takes the bundle's image.
	$(CATALOG) $(CATALOG_FLAGS) bundle $(wildcard hack/olm/released/*)

.PHONY: chart
chart: $(CHART) $(HELM_TOOL) ## Update the derived files of the Helm chart: CRDs, roles, alerts, the schema and the README.
	$(CHART) sync
	$(HELM_TOOL) lint --values charts/meshvm/values.yaml --templates charts/meshvm/templates
	$(HELM_TOOL) inject --values charts/meshvm/values.yaml --template ./hack/helm/values.md.tpl --output charts/meshvm/README.md --header-search '^## Values$$'

.PHONY: chart-release
chart-release: $(CHART) ## Write the Helm chart of a release into dist/meshvm; CHART_FLAGS= specifies the version and the images.
	$(CHART) release $(CHART_FLAGS)

GOLDEN := ./internal/children ./internal/cli/nat ./internal/cli/status ./internal/natplan ./internal/nftrules ./internal/rulejob ./internal/webhook

# The order matters: the bundle contains an example that a golden test writes, and the catalog contains the bundle.
.PHONY: update
update: ## Write all derived files: generate, manifests, golden files, bundle, catalog, chart. Review the difference.
	$(MAKE) --no-print-directory generate manifests
	go test -count=1 $(GOLDEN) -update
	$(MAKE) --no-print-directory bundle catalog chart

.PHONY: kustomize
kustomize: $(KUSTOMIZE) ## Build every overlay of config/.
	for d in certmanager default manifests no-webhook openshift prometheus samples unpause; do $(KUSTOMIZE) build config/$$d >/dev/null; done

.PHONY: build
build: ## Compile the programs into bin/.
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/ ./cmd/...

.PHONY: images
images: ## Build the images for all architectures, without a daemon; VERSION= and ARCHITECTURES= select them.
	go -C hack/images run . build -repo '$(CURDIR)' -out '$(CURDIR)/dist/images' -version '$(VERSION)' -architectures '$(ARCHITECTURES)'

.PHONY: push
push: ## Push the images of "make images" to REGISTRY=; MUST_GATHER_BASE= names an image with bash and tar.
	go -C hack/images run . push -out '$(CURDIR)/dist/images' -tag '$(VERSION)' -registry '$(REGISTRY)' -must-gather-base '$(MUST_GATHER_BASE)'

.PHONY: test-images
test-images: images ## Compare the images with the architectures that the bundle lists, with operator-framework's validator; needs podman.
	cd hack/olm && MESHVM_REQUIRE_IMAGES=1 go test -count=1 -v -run='^TestArchitectures$$' ./checks

##@ Check

.PHONY: verify
verify: ## Run all checks that need no test run; fails and shows the difference when a generated file is outdated.
	hack/verify.sh

.PHONY: lint
lint: $(LINT) ## Run golangci-lint on all code.
	$(LINT) run ./...
	cd hack/tools && $(LINT) run ./...
	cd hack/lint && $(LINT) run ./...
	cd hack/olm && $(LINT) run ./...
	cd hack/monitoring && $(LINT) run ./...
	cd hack/helm && $(LINT) run ./...
	cd hack/images && $(LINT) run ./...
	cd hack/prose && $(LINT) run ./...
	cd test && $(LINT) run ./...
	@# All of Kubernetes and KubeVirt would have to be compiled to look deeper.
	$(LINT) fmt --diff test/upstream

.PHONY: lint-api
lint-api: $(LINT) ## Run kube-api-linter on the API types.
	@# The kinds that the API server has; OperatorConfiguration is a file, with no schema that could hold a marker.
	$(LINT) run --config .golangci-kal.yml ./api/v1alpha1/...

.PHONY: prose
prose: $(VALE) ## Check spelling and language of documents, comments and messages, and count the habits of hack/prose/habits.go.
	MESHVM_VALE='$(VALE)' go -C hack/prose test -count=1 .
	go -C hack/prose run . -lint '$(CURDIR)' | xargs $(VALE) --config=hack/prose/vale.ini --output=line
	go -C hack/prose run . '$(CURDIR)'

.PHONY: vulncheck
vulncheck: $(VULN) ## Report known vulnerabilities in the code that the programs call; VULNDB= is a copy of the Go vulnerability database (docs/releasing.md).
	$(VULN) $(if $(VULNDB),-db '$(VULNDB)') ./cmd/...

.PHONY: check
check: ## Check sizes of files and functions, the imports of the privileged program, and PROJECT.
	go run ./hack/check
	cd hack/tools && go test ./...

.PHONY: tidy
tidy: ## Tidy every Go module.
	for m in $(MODULES); do (cd $$m && go mod tidy) done

##@ Tools

.PHONY: tools
tools: $(CONTROLLER_GEN) $(CRDGEN) $(GOTESTSUM) $(KUSTOMIZE) $(LINT) ## Build the tools into bin/.

$(CONTROLLER_GEN):
	cd hack/tools && go build -trimpath -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

$(CRDGEN):
	cd hack/tools && go build -trimpath -o $@ ./crdgen

$(GOTESTSUM):
	cd hack/tools && go build -trimpath -o $@ gotest.tools/gotestsum

$(KUSTOMIZE):
	cd hack/tools && go build -trimpath -o $@ sigs.k8s.io/kustomize/kustomize/v5

$(BUNDLE):
	cd hack/olm && go build -trimpath -o $@ ./bundle

$(CATALOG):
	cd hack/olm && go build -trimpath -o $@ ./catalog

$(CHART):
	cd hack/helm && go build -trimpath -o $@ ./chart

$(HELM_TOOL):
	cd hack/helm && go build -trimpath -o $@ github.com/cert-manager/helm-tool

$(SITE)/installed:
	python3 -m venv --clear $(SITE)
	$(SITE)/bin/pip install --quiet --disable-pip-version-check --requirement docs/site/requirements.txt
	touch $@

$(LINT):
	cd hack/lint && go build -trimpath -o $@ .

$(VALE):
	cd hack/prose && go build -trimpath -o $@ github.com/vale-cli/vale/v3/cmd/vale

$(VULN):
	cd hack/vuln && go build -trimpath -o $@ golang.org/x/vuln/cmd/govulncheck
