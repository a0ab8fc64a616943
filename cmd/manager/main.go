// SPDX-License-Identifier: Apache-2.0

// Command manager runs the controllers and the webhook server of the meshvm
// operator.
//
//	manager [--config FILE]
//
// FILE is an OperatorConfiguration (docs/configuration.md). Without it, all
// settings have their defaults. The environment variable OPERATOR_NAMESPACE is
// the namespace of the rule-writer Jobs. POD_NAME is the pod to which events
// about the configuration refer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	logzap "sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/controllers/audit"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/operatorconfig"
	"meshvm.io/meshvm/internal/rulejob"
)

func main() {
	path := flag.String("config", "", "Path of a file with an OperatorConfiguration. If empty, all settings have their defaults.")
	flag.Parse()
	if err := start(*path); err != nil {
		ctrl.Log.Error(err, "Manager exited with an error")
		os.Exit(1)
	}
}

func start(path string) error {
	c, err := operatorconfig.Load(path, os.Getenv)
	if err != nil {
		ctrl.SetLogger(logzap.New())
		return err
	}
	p := &program{
		path: path, namespace: os.Getenv("OPERATOR_NAMESPACE"), pod: os.Getenv("POD_NAME"),
		config: c, level: zap.NewAtomicLevel(),
	}
	if p.namespace == "" {
		return errors.New("environment variable OPERATOR_NAMESPACE is not set: set it to the namespace of the rule-writer Jobs")
	}
	logger := logzap.New(logzap.Level(p.level), logzap.UseDevMode(c.Logging.Format == configv1alpha1.LogText))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	captureStandardLog(logger)
	ctrl.Log.Info("Configuration loaded", "configuration", operatorconfig.Text(c))
	limit, err := operatorconfig.MemoryLimit(os.Getenv)
	if err != nil {
		return err
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
		ctrl.Log.Info("Memory limit of the Go runtime set", "bytes", limit)
	}
	ctx, restart := context.WithCancel(ctrl.SetupSignalHandler())
	defer restart()
	return p.run(ctx, restart)
}

// program is the manager's process.
type program struct {
	path, namespace, pod string
	config               *configv1alpha1.OperatorConfiguration

	// The parts that a new configuration changes without a restart.
	level    zap.AtomicLevel
	limiter  operatorconfig.RateLimiter
	interval *audit.Interval
	servers  servers
}

// apply applies the live fields of a configuration.
func (p *program) apply(c *configv1alpha1.OperatorConfiguration) {
	p.level.SetLevel(operatorconfig.Level(c.Logging.Level))
	p.limiter.Set(c.Client)
	p.interval.Set(operatorconfig.Seconds(*c.Audit.IntervalSeconds))
	p.servers.choose(c.TLS.Profile)
}

// run returns when ctx is done or after restart was called.
func (p *program) run(ctx context.Context, restart func()) error {
	p.interval = audit.Every(0)
	p.servers = newServers(p.config, p.namespace)
	p.apply(p.config)
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("get the configuration of the API server client: %w", err)
	}
	cfg.RateLimiter = &p.limiter
	options := p.options()
	election, err := p.addElection(cfg, &options)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(cfg, options)
	if err != nil {
		return fmt.Errorf("create the manager: %w", err)
	}
	election.mgr = mgr
	domain, resolvers := p.clusterDNS()
	o := controllers.Options{
		Jobs: p.jobs(), Workers: int(p.config.Controllers.Workers), AuditInterval: p.interval,
		StartGate: children.StartGate(p.config.Guests.StartGate), ClusterDomain: domain, ClusterResolvers: resolvers,
		MeshRootNamespace: p.config.Mesh.RootNamespace, Gateways: p.config.Tenancy.Gateways, Patches: p.config.Tenancy.Patches,
		Adoption: p.config.Tenancy.Adoption, Now: time.Now,
	}
	if err := p.servers.start(ctx, mgr, o.Cluster(mgr.GetClient())); err != nil {
		return err
	}
	if err := controllers.Setup(ctx, mgr, o); err != nil {
		return err
	}
	if p.path != "" {
		if err := mgr.Add(p.reloader(mgr, restart)); err != nil {
			return fmt.Errorf("watch the configuration: %w", err)
		}
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return fmt.Errorf("add health checks: %w", err)
	}
	return mgr.Start(ctx)
}

// clusterDNS returns the DNS domain and the resolvers of the cluster and logs the
// source of the domain.
func (p *program) clusterDNS() (domain string, resolvers []string) {
	resolvConf, err := os.ReadFile(operatorconfig.ResolvConf)
	if err != nil {
		ctrl.Log.Info("Cannot detect the domain of the cluster", "reason", err.Error())
	}
	domain, source := operatorconfig.ClusterDomain(p.config, string(resolvConf))
	resolvers = operatorconfig.Resolvers(string(resolvConf))
	ctrl.Log.Info("DNS of the cluster", "domain", domain, "source", source, "resolvers", resolvers)
	return domain, resolvers
}

func (p *program) options() manager.Options {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	election := p.config.LeaderElection
	seconds := func(n int32) *time.Duration {
		d := operatorconfig.Seconds(n)
		return &d
	}
	o := manager.Options{
		Scheme:                  scheme,
		Cache:                   controllers.CacheOptions(p.namespace),
		Client:                  controllers.ClientOptions(),
		HealthProbeBindAddress:  p.config.Health.BindAddress,
		LeaderElection:          election.Mode == configv1alpha1.Enabled,
		LeaderElectionID:        leaseName,
		LeaderElectionNamespace: p.namespace,
		LeaseDuration:           seconds(election.LeaseDurationSeconds),
		RenewDeadline:           seconds(election.RenewDeadlineSeconds),
		RetryPeriod:             seconds(election.RetryPeriodSeconds),
		// The process exits with the manager, so the lease can be released
		// immediately.
		LeaderElectionReleaseOnCancel: true,
	}
	p.servers.addTo(&o)
	return o
}

func (p *program) jobs() rulejob.Config {
	r := p.config.RuleWriter
	return rulejob.Config{
		Namespace:         p.namespace,
		Image:             r.Image,
		TracerImage:       p.config.Tracer.Image,
		ServiceAccount:    r.ServiceAccount,
		ImagePullPolicy:   corev1.PullPolicy(r.ImagePullPolicy),
		ImagePullSecrets:  r.ImagePullSecrets,
		PriorityClassName: r.PriorityClassName,
	}
}

func (p *program) reloader(mgr ctrl.Manager, restart func()) *operatorconfig.Reloader {
	r := &operatorconfig.Reloader{
		Path: p.path, Env: os.Getenv, Current: p.config, Apply: p.apply, Restart: restart,
		Log: ctrl.Log.WithName("configuration"), Recorder: podEvents{mgr.GetClient(), p.namespace, p.pod},
	}
	if p.pod != "" {
		r.Object = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.pod}}
	}
	return r
}
