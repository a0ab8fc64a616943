// SPDX-License-Identifier: Apache-2.0

package trace

import "time"

// sceneCase is a sequence of messages with the expected report.
type sceneCase struct {
	name string
	play func(*scene)
	want []verdict
	says string
}

func scenes() []sceneCase {
	return append(append(proxyScenes(), directScenes()...), oddScenes()...)
}

func proxyScenes() []sceneCase {
	return []sceneCase{
		{
			"inbound through the proxy", func(s *scene) {
				s.inbound()
				s.proxy("127.0.0.6:40001", "10.244.0.8:8080", "10.0.2.2:8080")
			},
			[]verdict{{From: FromOutside, Ending: EndingGuest, Answer: AnswerYes, Via: true, Legs: 2, Packets: 1}},
			"The proxy's own connection to 10.244.0.8:8080 reached the guest at 10.0.2.2:8080",
		},
		{
			"inbound, second leg to another address of the guest", func(s *scene) {
				s.inbound()
				s.proxy("10.244.0.8:40001", "10.0.2.2:8080", "10.0.2.2:8080")
			},
			[]verdict{{From: FromOutside, Ending: EndingGuest, Answer: AnswerYes, Via: true, Legs: 2, Likely: true, Packets: 1}},
			"is likely its second leg",
		},
		{
			"inbound through ztunnel's tunnel", func(s *scene) {
				s.c.ns.Rules.Chains[ChainKey{familyInet, "istio-ambient-nat", "prerouting"}] = ChainInfo{}
				s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:15008", 1)
				s.conntrack(numberTCP, client, "10.244.0.8:15008", "10.244.0.8:15008", statusSeenReply)
				s.proxy("10.244.3.3:40001", "10.244.0.8:8080", "10.0.2.2:8080")
			},
			[]verdict{{From: FromOutside, Ending: EndingGuest, Answer: AnswerYes, Via: true, Legs: 2, Likely: true, Packets: 1}},
			"Reached ztunnel's inbound HBONE port 15008, which no rule changed. Ztunnel's next connection",
		},
		{
			"inbound, no second leg", func(s *scene) {
				s.inbound()
				s.proxy("10.244.0.8:40001", "203.0.113.9:443", "203.0.113.9:443")
			},
			[]verdict{{From: FromOutside, Ending: EndingProxyInbound, Answer: AnswerYes, Via: true, Legs: 1, Packets: 1}},
			"no new connection of the proxy",
		},
		{
			"outbound to the same address", func(s *scene) {
				s.outbound()
				s.proxy("10.244.0.8:40002", "192.0.2.1:80", "192.0.2.1:80")
				s.proxy("10.244.0.8:40001", "203.0.113.9:443", "203.0.113.9:443")
			},
			[]verdict{{From: FromGuest, Ending: EndingOutside, Answer: AnswerYes, Via: true, Legs: 2, Packets: 1}},
			"own connection to 203.0.113.9:443 left the pod; the other end answered",
		},
		{
			"outbound to an address that the proxy chose", func(s *scene) {
				s.outbound()
				s.proxy("10.244.0.8:40001", "10.244.3.3:8443", "10.244.3.3:8443")
			},
			[]verdict{{From: FromGuest, Ending: EndingOutside, Answer: AnswerYes, Via: true, Legs: 2, Likely: true, Packets: 1}},
			"The proxy's next connection, to 10.244.3.3:8443, is likely",
		},
		{
			"outbound, too late for a second leg", func(s *scene) {
				s.outbound()
				s.at = s.at.Add(time.Minute)
				s.proxy("10.244.0.8:40001", "10.244.3.3:8443", "10.244.3.3:8443")
			},
			[]verdict{{From: FromGuest, Ending: EndingProxyOutbound, Answer: AnswerYes, Via: true, Legs: 1, Packets: 1}},
			"",
		},
		{
			"the proxy's connection as the requested flow", func(s *scene) {
				s.proxy("10.244.0.8:40001", "203.0.113.9:443", "203.0.113.9:443")
				s.within(ownOutput, ruleFlow, verdictContinue)
				s.enter(ownOutput, ruleFlow, 0, numberTCP, "10.244.0.8:40003", "203.0.113.9:443", 5)
			},
			[]verdict{
				{From: FromPod, Ending: EndingOutside, Answer: AnswerYes, Legs: 1, Packets: 1},
				{From: FromPod, Ending: EndingOutside, Answer: AnswerUnknown, Legs: 1, Packets: 1},
			},
			"",
		},
	}
}

func directScenes() []sceneCase {
	return []sceneCase{
		{
			"direct to the guest", func(s *scene) {
				s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 1)
				s.hop(ourPrerouting, ruleDirect, verdictAccept)
				s.conntrack(numberTCP, client, "10.244.0.8:22", "10.0.2.2:22", statusSeenReply)
			},
			[]verdict{{From: FromOutside, Ending: EndingGuest, Answer: AnswerYes, Legs: 1, Bypass: ruleDirect, Packets: 1}},
			"Reached the guest at 10.0.2.2:22 bypassing the proxy, by meshvm's rule \"N2: direct TCP ports",
		},
		{
			"guest refuses", func(s *scene) {
				s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 1)
				s.hop(ourPrerouting, ruleDirect, verdictAccept)
				s.conntrack(numberTCP, client, "10.244.0.8:22", "10.0.2.2:22", 0)
				s.gone(numberTCP, client, "10.244.0.8:22", "10.0.2.2:22")
			},
			[]verdict{{From: FromOutside, Ending: EndingGuest, Answer: AnswerRefused, Legs: 1, Bypass: ruleDirect, Packets: 1}},
			"the guest refused the connection",
		},
		{
			"no answer of the guest, and the client repeats the packet", func(s *scene) {
				for id := range uint16(3) {
					s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", id)
					s.hop(ourPrerouting, ruleDirect, verdictAccept)
				}
				s.conntrack(numberTCP, client, "10.244.0.8:22", "10.0.2.2:22", 0)
			},
			[]verdict{{From: FromOutside, Ending: EndingGuest, Answer: AnswerNone, Legs: 1, Bypass: ruleDirect, Packets: 3}},
			"did not answer",
		},
		{
			"excluded port", func(s *scene) {
				s.enter(ownPrerouting, ruleFlow, linkBridge, numberTCP, guest, "203.0.113.9:5432", 1)
				s.hop(ourPrerouting, ruleExclude, verdictAccept)
				s.conntrack(numberTCP, guest, "203.0.113.9:5432", "203.0.113.9:5432", statusSeenReply)
			},
			[]verdict{{From: FromGuest, Ending: EndingOutside, Answer: AnswerYes, Legs: 1, Bypass: ruleExclude, Packets: 1}},
			"Bypassed the proxy and went to 203.0.113.9:5432 outside, by meshvm's rule \"N1",
		},
		{
			"no matching rule", func(s *scene) {
				s.enter(ownPrerouting, ruleFlow, linkBridge, numberUDP, guest, "203.0.113.9:53", 1)
				s.conntrack(numberUDP, guest, "203.0.113.9:53", "203.0.113.9:53", statusSeenReply)
			},
			[]verdict{{From: FromGuest, Ending: EndingOutside, Answer: AnswerYes, Legs: 1, Packets: 1}},
			"because no rule redirected it",
		},
		{
			"proxy's own port", func(s *scene) {
				s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:15021", 1)
				s.conntrack(numberTCP, client, "10.244.0.8:15021", "10.244.0.8:15021", statusSeenReply)
			},
			[]verdict{{From: FromOutside, Ending: EndingPod, Answer: AnswerYes, Legs: 1, Packets: 1}},
			"Reached a process in the pod",
		},
		{
			"no listener", func(s *scene) {
				s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:9000", 1)
				s.hop(istioPrerouting, 0, verdictJump)
				s.within(istioInbound, ruleIstioReturn, verdictReturn)
			},
			[]verdict{{From: FromOutside, Ending: EndingNoListener, Answer: AnswerRefused, Legs: 1, Packets: 1}},
			"excluded from the mesh by Istio's rule \"tcp dport 9000 return\" in chain ISTIO_INBOUND",
		},
		{
			"the proxy is not running", func(s *scene) {
				s.c.SetListeners(Listeners{})
				s.inbound()
				s.c.connections[s.packet.Tuple].replied = false
			},
			[]verdict{{From: FromOutside, Ending: EndingNoListener, Answer: AnswerRefused, Legs: 1, Packets: 1}},
			"it was delivered to 10.244.0.8:15006 in the pod, where nothing listens; it was sent there by meshvm's rule \"N5",
		},
		{
			"a process was listening at that time", func(s *scene) {
				s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:9000", 1)
				s.conntrack(numberTCP, client, "10.244.0.8:9000", "10.244.0.8:9000", statusSeenReply)
			},
			[]verdict{{From: FromOutside, Ending: EndingPod, Answer: AnswerYes, Legs: 1, Packets: 1}},
			"",
		},
	}
}

func oddScenes() []sceneCase {
	ended := func(rule uint64, value int32) func(*scene) {
		return func(s *scene) {
			s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 1)
			s.hop(ourPrerouting, ruleDirect, verdictAccept)
			s.translate("10.0.2.2:22")
			s.hop(foreignForward, rule, value)
		}
	}
	dropped := func(rule uint64) []verdict {
		return []verdict{{From: FromOutside, Ending: EndingDropped, Answer: AnswerNone, Legs: 1, Drop: rule, Packets: 1}}
	}
	return []sceneCase{
		{
			"dropped", ended(ruleDrop, verdictDrop), dropped(ruleDrop),
			"Was dropped in forward by another writer's rule \"tcp dport 22 drop\" in chain forward of table inet firewall.",
		},
		{"rejected", ended(ruleReject, verdictDrop), dropped(ruleReject), "Was rejected in forward"},
		{"queued", ended(ruleQueue, verdictQueue|1<<16), dropped(ruleQueue), "queued to a program in user space"},
		{"stolen", ended(ruleQueue, verdictStolen), dropped(ruleQueue), "consumed by the kernel"},
		{
			"dropped by a policy", func(s *scene) {
				s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 1)
				s.hop(foreignForward, ruleQueue, verdictContinue)
				e := s.event(foreignForward, 0, 0, nil)
				e.Kind, e.Policy = EventPolicy, verdictDrop
				s.c.Trace(s.at, e)
			},
			dropped(0), "by the policy of chain forward of table inet firewall (another writer)",
		},
		{
			"an answer's datagram", func(s *scene) {
				s.conntrack(numberUDP, "203.0.113.9:53", "10.244.0.8:5353", "10.0.2.2:5353", 0)
				s.enter(ownPrerouting, ruleFlow, linkBridge, numberUDP, "10.0.2.2:5353", "203.0.113.9:53", 1)
			},
			nil, "",
		},
		{
			"messages without a packet", func(s *scene) {
				s.within(ownPrerouting, ruleFlow, verdictContinue)
				s.packet = Packet{Tuple: tuple(numberTCP, endpoint(client), endpoint("10.244.0.8:1"))}
				s.hop(ourPrerouting, ruleDirect, verdictAccept)
				s.gone(numberTCP, client, "10.244.0.8:1", "10.244.0.8:1")
			},
			nil, "",
		},
		{
			"rule that no dump had", func(s *scene) {
				s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 1)
				s.hop(ourPrerouting, 77, verdictAccept)
				s.conntrack(numberTCP, client, "10.244.0.8:22", "10.0.2.2:22", statusSeenReply)
			},
			[]verdict{{From: FromOutside, Ending: EndingGuest, Answer: AnswerYes, Legs: 1, Bypass: 77, Packets: 1}},
			"meshvm's rule with handle 77 in chain prerouting of table inet meshvm",
		},
		{
			"connection started again with the same ports", func(s *scene) {
				s.conntrack(numberTCP, client, "10.244.0.8:22", "10.0.2.9:22", statusSeenReply)
				s.gone(numberTCP, client, "10.244.0.8:22", "10.0.2.9:22")
				s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 1)
				s.conntrack(numberTCP, client, "10.244.0.8:22", "10.0.2.2:22", 0)
			},
			[]verdict{{From: FromOutside, Ending: EndingGuest, Answer: AnswerNone, Legs: 1, Packets: 1}},
			"10.0.2.2:22",
		},
	}
}
