// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"context"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/util/flowcontrol"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
)

// RateLimiter is a RateLimiter for rest.Config whose limit can be changed. Call
// Set before use.
type RateLimiter struct {
	current atomic.Pointer[flowcontrol.RateLimiter]
}

// Set applies the limit of the configuration to subsequent requests.
func (r *RateLimiter) Set(c configv1alpha1.Client) {
	limiter := flowcontrol.NewFakeAlwaysRateLimiter()
	if n := *c.RequestsPerSecond; n > 0 {
		limiter = flowcontrol.NewTokenBucketRateLimiter(float32(n), int(c.Burst))
	}
	r.current.Store(&limiter)
}

func (r *RateLimiter) get() flowcontrol.RateLimiter { return *r.current.Load() }

// TryAccept takes a token if one is available.
func (r *RateLimiter) TryAccept() bool { return r.get().TryAccept() }

// Accept waits for a token.
func (r *RateLimiter) Accept() { r.get().Accept() }

// Stop does nothing.
func (r *RateLimiter) Stop() { r.get().Stop() }

// QPS returns the limit in requests per second.
func (r *RateLimiter) QPS() float32 { return r.get().QPS() }

// Wait waits for a token or until ctx is done.
func (r *RateLimiter) Wait(ctx context.Context) error { return r.get().Wait(ctx) }

// levels maps log levels to levels of zap. The verbosity of logr decreases from
// Info.
var levels = map[configv1alpha1.LogLevel]zapcore.Level{
	configv1alpha1.LogError: zapcore.ErrorLevel,
	configv1alpha1.LogInfo:  zapcore.InfoLevel,
	configv1alpha1.LogDebug: zapcore.DebugLevel,
	configv1alpha1.LogTrace: zapcore.Level(-9),
}

// Level returns the zap level of a log level.
func Level(l configv1alpha1.LogLevel) zapcore.Level { return levels[l] }
