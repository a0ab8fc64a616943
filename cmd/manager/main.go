// Command manager runs the meshvm operator's controllers.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/rulejob"
	"meshvm.io/meshvm/internal/servingcert"
)

// options are the command line's.
type options struct {
	probeAddr, metricsAddr string
	leaderElect            bool
	workers                int
	webhookPort            int
	webhookCertDir         string
	auditInterval          time.Duration
	jobs                   rulejob.Config
}

func main() {
	o := parse()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&zap.Options{})))
	if err := run(o); err != nil {
		ctrl.Log.Error(err, "the manager ends")
		os.Exit(1)
	}
}

// parse reads the flags; those that an installation sets by environment
// variable (as OLM does with images) have it as their default.
func parse() options {
	var o options
	var pullPolicy string
	flag.StringVar(&o.probeAddr, "health-probe-bind-address", ":8081", "Address of /healthz and /readyz.")
	flag.StringVar(&o.metricsAddr, "metrics-bind-address", "0", "Address of /metrics over plain HTTP; 0 turns it off.")
	flag.BoolVar(&o.leaderElect, "leader-elect", false, "Let one of several managers be active.")
	flag.IntVar(&o.workers, "workers", 4, "Objects of a kind that are reconciled at a time.")
	flag.IntVar(&o.webhookPort, "webhook-port", 9443, "Port of the admission webhooks; -1 turns them off.")
	flag.StringVar(&o.webhookCertDir, "webhook-cert-dir", "", "Directory with tls.crt and tls.key, mounted by OLM, OpenShift's service-CA or cert-manager; when empty the operator makes its own certificate.")
	flag.DurationVar(&o.auditInterval, "audit-interval", 10*time.Minute, "How often each node's rules are read back and compared; 0 turns it off, less than 10s is refused.")
	flag.StringVar(&o.jobs.Namespace, "operator-namespace", os.Getenv("OPERATOR_NAMESPACE"), "Namespace of the rule-writer Jobs (env OPERATOR_NAMESPACE).")
	flag.StringVar(&o.jobs.Image, "rule-writer-image", os.Getenv("RULE_WRITER_IMAGE"), "Image of the rule-writer (env RULE_WRITER_IMAGE).")
	flag.StringVar(&o.jobs.ServiceAccount, "rule-writer-service-account", os.Getenv("RULE_WRITER_SERVICE_ACCOUNT"), "Service account of the rule-writer (env RULE_WRITER_SERVICE_ACCOUNT).")
	flag.StringVar(&pullPolicy, "rule-writer-image-pull-policy", string(corev1.PullIfNotPresent), "Pull policy of the rule-writer's image.")
	flag.StringVar(&o.jobs.PriorityClassName, "rule-writer-priority-class", "", "Priority class of the rule-writer; "+rulejob.DefaultPriorityClassName+" when empty.")
	flag.Func("rule-writer-image-pull-secret", "Name of a secret of the operator's namespace that pulls the rule-writer's image; may be given several times.", func(name string) error {
		o.jobs.ImagePullSecrets = append(o.jobs.ImagePullSecrets, name)
		return nil
	})
	flag.Parse()
	o.jobs.ImagePullPolicy = corev1.PullPolicy(pullPolicy)
	return o
}

func run(o options) error {
	for name, value := range map[string]string{
		"--operator-namespace": o.jobs.Namespace, "--rule-writer-image": o.jobs.Image, "--rule-writer-service-account": o.jobs.ServiceAccount,
	} {
		if value == "" {
			return fmt.Errorf("%s is empty: set the flag or its environment variable", name)
		}
	}
	if o.auditInterval < 0 || o.auditInterval > 0 && o.auditInterval < 10*time.Second {
		return fmt.Errorf("--audit-interval is %s: want 0 or at least 10s", o.auditInterval)
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	webhooks := newWebhookServer(o.webhookPort, o.webhookCertDir, o.jobs.Namespace)
	cacheOptions := controllers.CacheOptions(o.jobs.Namespace)
	if webhooks.certificate != nil {
		servingcert.AddToCache(&cacheOptions, *webhooks.certificate)
	}
	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), manager.Options{
		Scheme:                  scheme,
		Cache:                   cacheOptions,
		WebhookServer:           webhooks,
		Client:                  controllers.ClientOptions(),
		Metrics:                 server.Options{BindAddress: o.metricsAddr},
		HealthProbeBindAddress:  o.probeAddr,
		LeaderElection:          o.leaderElect,
		LeaderElectionID:        "manager.meshvm.io",
		LeaderElectionNamespace: o.jobs.Namespace,
		// The process ends with the manager, so the lease can be given up at once.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("create the manager: %w", err)
	}
	ctx := ctrl.SetupSignalHandler()
	if err := controllers.Setup(ctx, mgr, controllers.Options{Jobs: o.jobs, Workers: o.workers, AuditInterval: o.auditInterval, Now: time.Now}); err != nil {
		return err
	}
	if o.webhookPort > 0 {
		if err := webhooks.start(mgr); err != nil {
			return fmt.Errorf("start the webhook server: %w", err)
		}
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return fmt.Errorf("add health checks: %w", err)
	}
	return mgr.Start(ctx)
}
