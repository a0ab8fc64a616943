// SPDX-License-Identifier: Apache-2.0

// Package picture draws the result of a trace as SVG and as an HTML page. Both
// contain no script and no external address.
//
//	Result --> scene (lanes, hooks, chains) --> layout (positions) --> SVG
//	                                                              \-> HTML: a wide and a narrow SVG, and the hops as text
//
// A picture has one lane for each place that the connection passes, from top to
// bottom: where it starts, the pod's network namespace, the proxy, the pod's
// network namespace again, where it ends. In the network namespace, each hook
// of netfilter is a column, with its chains in the order of their priority.
//
// The package is pure.
package picture
