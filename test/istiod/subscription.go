// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Proxy is the sidecar of a pod, or the proxy of a gateway's pod.
type Proxy struct {
	Namespace, Pod, IP, ServiceAccount string
	Labels                             map[string]string
	// Gateway is set for a gateway, and Waypoint for a waypoint.
	Gateway, Waypoint bool
}

// stream is the method of Envoy's aggregated discovery service
// (envoy/service/discovery/v3/ads.proto).
const stream = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

// typePrefix is the prefix of the types of Envoy's resources.
const typePrefix = "type.googleapis.com/envoy.config."

// The types of resources that a sidecar subscribes to.
const (
	clusters  = typePrefix + "cluster.v3.Cluster"
	endpoints = typePrefix + "endpoint.v3.ClusterLoadAssignment"
	listeners = typePrefix + "listener.v3.Listener"
	routes    = typePrefix + "route.v3.RouteConfiguration"
)

// answerLimit is the time for which a subscription waits for the configuration.
const answerLimit = time.Minute

// Compiled returns what istiod compiles for the proxy: the ports of its pod, and the
// routes to a Service. Host is the name of the Service in the cluster's domain.
func (s *Server) Compiled(ctx context.Context, p Proxy, host string) (*Configuration, error) {
	r, err := s.resources(ctx, p)
	if err != nil {
		return nil, err
	}
	return r.configuration(host), nil
}

// CompiledForGateway returns the hosts for which a gateway routes requests.
func (s *Server) CompiledForGateway(ctx context.Context, p Proxy, host string) ([]GatewayHosts, error) {
	r, err := s.resources(ctx, p)
	if err != nil {
		return nil, err
	}
	return r.gateway(host), nil
}

// CompiledForWaypoint returns the ports of a Service on which a waypoint accepts
// connections, with the filters of its policies.
func (s *Server) CompiledForWaypoint(ctx context.Context, p Proxy, host string) ([]WaypointPort, error) {
	r, err := s.resources(ctx, p)
	if err != nil {
		return nil, err
	}
	return r.waypoint(host), nil
}

// resources subscribes as a proxy and returns what istiod sends.
func (s *Server) resources(ctx context.Context, p Proxy) (r resources, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	connection, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return r, err
	}
	defer func() { _ = connection.Close() }()
	ads, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, stream)
	if err != nil {
		return r, fmt.Errorf("istiod: subscribe: %w", err)
	}
	node, err := p.node(s.Version)
	if err != nil {
		return r, err
	}
	subscribe := func(kind string, names ...string) error {
		request := protowire.AppendTag(nil, 2, protowire.BytesType) // DiscoveryRequest.node
		request = protowire.AppendBytes(request, node)
		for _, name := range names { // resource_names
			request = protowire.AppendString(protowire.AppendTag(request, 3, protowire.BytesType), name)
		}
		request = protowire.AppendString(protowire.AppendTag(request, 4, protowire.BytesType), kind) // type_url
		if err := ads.SendMsg(request); err != nil {
			return fmt.Errorf("istiod: subscribe to %s: %w", kind, err)
		}
		var response []byte
		if err := ads.RecvMsg(&response); err != nil {
			return fmt.Errorf("istiod: no response for %s: %w", kind, err)
		}
		return nil
	}
	if err := errors.Join(subscribe(clusters), subscribe(listeners)); err != nil {
		return r, err
	}
	id := p.Pod + "." + p.Namespace
	d, err := s.dump(ctx, id)
	if err != nil {
		return r, err
	}
	first := d.resources()
	err = subscribe(endpoints, first.endpointNames()...)
	if names := first.routeNames(); err == nil && len(names) > 0 { // The listeners of a waypoint contain their routes.
		err = subscribe(routes, names...)
	}
	if err != nil {
		return r, err
	}
	if d, err = s.dump(ctx, id); err != nil {
		return r, err
	}
	return d.resources(), nil
}

// node encodes envoy.config.core.v3.Node. The metadata are those of pilot-agent
// (Istio, pkg/model/proxy.go).
func (p Proxy) node(version string) ([]byte, error) {
	labels := map[string]any{}
	for k, v := range p.Labels {
		labels[k] = v
	}
	metadata, err := structpb.NewStruct(map[string]any{
		"NAME": p.Pod, "NAMESPACE": p.Namespace, "LABELS": labels, "INSTANCE_IPS": p.IP, "SERVICE_ACCOUNT": p.ServiceAccount,
		"CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "ISTIO_VERSION": version, "INTERCEPTION_MODE": "REDIRECT",
	})
	if err != nil {
		return nil, err
	}
	encoded, err := proto.Marshal(metadata)
	if err != nil {
		return nil, err
	}
	kind := "sidecar"
	switch {
	case p.Gateway:
		kind = "router"
	case p.Waypoint:
		kind = "waypoint"
	}
	id := fmt.Sprintf("%s~%s~%s.%s~%s.svc.cluster.local", kind, p.IP, p.Pod, p.Namespace, p.Namespace)
	node := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), id)                              // id
	node = protowire.AppendString(protowire.AppendTag(node, 2, protowire.BytesType), p.Labels["app"]+"."+p.Namespace) // cluster
	return protowire.AppendBytes(protowire.AppendTag(node, 3, protowire.BytesType), encoded), nil                     // metadata
}

// raw passes encoded messages on: Envoy's Go types are not needed.
type raw struct{}

// Name is the content type of the messages.
func (raw) Name() string { return "proto" }

// Marshal returns an encoded message.
func (raw) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("istiod: message of type %T", v)
	}
	return b, nil
}

// Unmarshal copies an encoded message.
func (raw) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("istiod: message of type %T", v)
	}
	*b = append((*b)[:0], data...)
	return nil
}
