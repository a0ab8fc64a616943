// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"context"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/util/flowcontrol"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
)

// RateLimiter is a rest.Config's RateLimiter whose limit can change. The zero
// value is not usable: call Set first.
type RateLimiter struct {
	current atomic.Pointer[flowcontrol.RateLimiter]
}

// Set puts the limit of the configuration in force, for requests from now on.
func (r *RateLimiter) Set(c configv1alpha1.Client) {
	limiter := flowcontrol.NewFakeAlwaysRateLimiter()
	if n := *c.RequestsPerSecond; n > 0 {
		limiter = flowcontrol.NewTokenBucketRateLimiter(float32(n), int(c.Burst))
	}
	r.current.Store(&limiter)
}

func (r *RateLimiter) get() flowcontrol.RateLimiter { return *r.current.Load() }

// TryAccept takes a token if there is one.
func (r *RateLimiter) TryAccept() bool { return r.get().TryAccept() }

// Accept waits for a token.
func (r *RateLimiter) Accept() { r.get().Accept() }

// Stop does nothing.
func (r *RateLimiter) Stop() { r.get().Stop() }

// QPS is the limit.
func (r *RateLimiter) QPS() float32 { return r.get().QPS() }

// Wait waits for a token or for the end of ctx.
func (r *RateLimiter) Wait(ctx context.Context) error { return r.get().Wait(ctx) }

// levels are zap's names for ours; logr's verbosity counts downwards from Info.
var levels = map[configv1alpha1.LogLevel]zapcore.Level{
	configv1alpha1.LogError: zapcore.ErrorLevel,
	configv1alpha1.LogInfo:  zapcore.InfoLevel,
	configv1alpha1.LogDebug: zapcore.DebugLevel,
	configv1alpha1.LogTrace: zapcore.Level(-9),
}

// Level is a log level in zap's terms.
func Level(l configv1alpha1.LogLevel) zapcore.Level { return levels[l] }
