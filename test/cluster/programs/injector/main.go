// Command injector stands where Istio has istiod's injection webhook. It adds
// to pods with the label sidecar.istio.io/inject=true what that webhook adds to
// a virt-launcher pod: the init container istio-init, which runs Istio's own
// `pilot-agent istio-iptables` with the arguments of Istio's template, and the
// native sidecar istio-proxy. The sidecar's image is the stand-in of Envoy.
//
// Template followed: manifests/charts/istio-control/istio-discovery/files/
// injection-template.yaml of istio.io/istio.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9443", "address to serve on")
	cert := flag.String("cert", "", "certificate file")
	key := flag.String("key", "", "key file")
	flag.Parse()
	mux := http.NewServeMux()
	mux.HandleFunc("/inject", inject)
	server := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServeTLS(*cert, *key))
}

func inject(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, fmt.Sprintf("not an AdmissionReview: %v", err), http.StatusBadRequest)
		return
	}
	response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	var pod corev1.Pod
	err := json.Unmarshal(review.Request.Object.Raw, &pod)
	if err == nil {
		response.Patch, err = patch(&pod)
	}
	if err != nil {
		response.Allowed = false
		response.Result = &metav1.Status{Message: "injector stand-in: " + err.Error()}
	}
	if response.Patch != nil {
		kind := admissionv1.PatchTypeJSONPatch
		response.PatchType = &kind
		log.Printf("injected into %s/%s%s", review.Request.Namespace, pod.Name, pod.GenerateName)
	}
	review.Request, review.Response = nil, response
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}
