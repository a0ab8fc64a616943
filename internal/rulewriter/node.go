// SPDX-License-Identifier: Apache-2.0

package rulewriter

import (
	"time"

	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/nft/kernel"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/proxystate"
	"meshvm.io/meshvm/internal/ruleio"
)

// OnNode returns the dependencies for a node.
func OnNode(f netns.Finder) Deps {
	return Deps{
		Find: func(podUID string) ([]Namespace, error) {
			found, err := f.Find(podUID)
			out := make([]Namespace, len(found))
			for i, n := range found {
				out[i] = n
			}
			return out, err
		},
		Kernel: kernel.Handle{Table: nftrules.TableName},
		Flows:  kernelFlows{},
		Proxy: func(plan ruleio.NATPlan) *ruleio.ProxyState {
			return proxystate.Read(proxystate.DialHere, plan)
		},
		Now: time.Now,
	}
}
