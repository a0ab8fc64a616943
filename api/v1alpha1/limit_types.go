// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// RateLimitPeriod is the period to which a rate refers.
//
// +kubebuilder:validation:Enum=Second;Minute;Hour
type RateLimitPeriod string

const (
	// RateLimitPeriodSecond is one second.
	RateLimitPeriodSecond RateLimitPeriod = "Second"
	// RateLimitPeriodMinute is one minute.
	RateLimitPeriodMinute RateLimitPeriod = "Minute"
	// RateLimitPeriodHour is one hour.
	RateLimitPeriodHour RateLimitPeriod = "Hour"
)

// RateLimit limits the rate of requests to an HTTP port, or of new connections to
// another TCP port. The proxy of each pod counts separately.
type RateLimit struct {
	// requests is the number of requests in each period, or of new connections to
	// a port that is not HTTP.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Requests int32 `json:"requests,omitempty"`

	// per is the period. The proxy distributes the requests over the period: with
	// 60 per Minute, it accepts one more request every second.
	//
	// +required
	Per RateLimitPeriod `json:"per,omitempty"`

	// burst is the number of requests that the proxy accepts together after a time
	// without requests. Within a period, it accepts at most the sum of burst and
	// requests. Defaults to requests.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Burst int32 `json:"burst,omitempty"`

	// rules are additional limits of some HTTP requests. A request is accepted if
	// it is within the limit of the port and within the limits of all rules that
	// match it. They apply only to HTTP ports.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Rules []RateLimitRule `json:"rules,omitempty"`
}

// IsSet reports whether the spec limits the rate.
func (r RateLimit) IsSet() bool {
	return r.Requests != 0 || r.Per != "" || r.Burst != 0 || len(r.Rules) > 0
}

// RateLimitRule limits the rate of HTTP requests that match.
type RateLimitRule struct {
	// name identifies the rule.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// match specifies the requests that the rule limits. A request must match all
	// fields that are set.
	//
	// +required
	Match RateLimitMatch `json:"match,omitzero"`

	// requests is the number of matching requests in each period.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Requests int32 `json:"requests,omitempty"`

	// per is the period.
	//
	// +required
	Per RateLimitPeriod `json:"per,omitempty"`

	// burst is the number of matching requests that the proxy accepts together
	// after a time without such requests. Defaults to requests.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Burst int32 `json:"burst,omitempty"`
}

// RateLimitMatch matches HTTP requests.
//
// +kubebuilder:validation:MinProperties=1
type RateLimitMatch struct {
	// pathPrefix is the beginning of the path, compared character by character:
	// /login also matches /login-form. The proxy compares the path after the
	// normalization that Istio's mesh configuration specifies.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$`
	PathPrefix string `json:"pathPrefix,omitempty"`

	// methods are HTTP methods, one of which the request must have. All methods
	// match by default.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=9
	Methods []HTTPMethod `json:"methods,omitempty"`
}

// HTTPMethod is the method of an HTTP request.
//
// +kubebuilder:validation:Enum=GET;HEAD;POST;PUT;PATCH;DELETE;OPTIONS;TRACE;CONNECT
type HTTPMethod string
