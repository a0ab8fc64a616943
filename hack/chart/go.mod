module meshvm.io/meshvm/hack/chart

go 1.26.0

require (
	helm.sh/helm/v4 v4.3.1
	sigs.k8s.io/kustomize/api v0.20.1
	sigs.k8s.io/kustomize/kyaml v0.20.1
	sigs.k8s.io/yaml v1.6.0
)
