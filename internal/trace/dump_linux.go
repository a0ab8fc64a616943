// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// dumpAttempts limits the number of restarts of a dump due to concurrent
// changes.
const dumpAttempts = 5

// dump returns all rules of the calling thread's network namespace, and the
// roles of the rules in the trace's table by handle.
func dump() (Ruleset, map[uint64]Role, error) {
	var errs error
	for range dumpAttempts {
		rules, roles, err := dumpOnce()
		if err == nil {
			return rules, roles, nil
		}
		errs = errors.Join(errs, err)
	}
	return Ruleset{}, nil, fmt.Errorf("read the rules: %w", errs)
}

func dumpOnce() (rules Ruleset, roles map[uint64]Role, err error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return rules, nil, err
	}
	defer func() { err = errors.Join(err, conn.CloseLasting()) }()
	rules = Ruleset{Chains: map[ChainKey]ChainInfo{}, Rules: map[RuleKey]RuleInfo{}}
	roles = map[uint64]Role{}
	chains, err := conn.ListChains()
	if err != nil {
		return rules, nil, err
	}
	sets := map[string]map[string][][]byte{}
	for _, c := range chains {
		key := ChainKey{Family: uint8(c.Table.Family), Table: c.Table.Name, Chain: c.Name}
		rules.Chains[key] = chainInfo(c)
		table := familyName(key.Family) + " " + key.Table
		if sets[table] == nil {
			sets[table] = anonymousSets(conn, c.Table)
		}
		found, err := conn.GetRules(c.Table, c)
		if err != nil {
			return rules, nil, fmt.Errorf("chain %s of table %s: %w", key.Chain, key.Table, err)
		}
		for _, r := range found {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			rules.Rules[RuleKey{ChainKey: key, Handle: r.Handle}] = RuleInfo{Text: ruleText(r.Exprs, sets[table]), Comment: comment}
			if _, role, ok := parseComment(comment); ok && key.isOwn() {
				roles[r.Handle] = role
			}
		}
	}
	return rules, roles, nil
}

func chainInfo(c *nftables.Chain) ChainInfo {
	info := ChainInfo{Type: string(c.Type)}
	if c.Hooknum != nil {
		info.Hook = hookNames[uint32(*c.Hooknum)]
	}
	if c.Priority != nil {
		info.Priority = int32(*c.Priority)
	}
	return info
}

// hookNames are the names of hooks in nft (linux/netfilter.h, enum
// nf_inet_hooks).
var hookNames = map[uint32]string{
	unix.NF_INET_PRE_ROUTING:  "prerouting",
	unix.NF_INET_LOCAL_IN:     "input",
	unix.NF_INET_FORWARD:      "forward",
	unix.NF_INET_LOCAL_OUT:    "output",
	unix.NF_INET_POST_ROUTING: "postrouting",
}

// maxElements is the maximum number of elements of an anonymous set in a text.
const maxElements = 16

// anonymousSets returns the elements of a table's anonymous sets. A set that
// cannot be read is shown by its name. Only texts depend on the elements.
func anonymousSets(conn *nftables.Conn, table *nftables.Table) map[string][][]byte {
	out := map[string][][]byte{}
	sets, err := conn.GetSets(table)
	if err != nil {
		return out
	}
	for _, s := range sets {
		if !strings.HasPrefix(s.Name, "__set") || s.Interval {
			continue
		}
		elements, err := conn.GetSetElements(s)
		if err != nil || len(elements) > maxElements {
			continue
		}
		for _, e := range elements {
			out[s.Name] = append(out[s.Name], e.Key)
		}
	}
	return out
}

// ownComments returns the comments of the rules in the trace's table.
func ownComments(conn *netlink.Conn) (comments []string, err error) {
	for range dumpAttempts {
		comments, err = ownCommentsOnce(conn)
		if !errors.Is(err, nfnetlink.ErrInterrupted) {
			break
		}
	}
	return comments, err
}

func ownCommentsOnce(conn *netlink.Conn) ([]string, error) {
	request, err := nfnetlink.Request(nfnetlink.NFTables(unix.NFT_MSG_GETRULE), netlink.Dump, unix.NFPROTO_INET,
		func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.NFTA_RULE_TABLE, TableName)
			return nil
		})
	if err != nil {
		return nil, err
	}
	var out []string
	err = nfnetlink.Query(conn, request, nfnetlink.NFTables(unix.NFT_MSG_NEWRULE), func(ad *netlink.AttributeDecoder) error {
		var comment string
		for ad.Next() {
			if ad.Type() == unix.NFTA_RULE_USERDATA {
				comment, _ = userdata.GetString(ad.Bytes(), userdata.TypeComment)
			}
		}
		out = append(out, comment)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", TableName, err)
	}
	return out, nil
}
