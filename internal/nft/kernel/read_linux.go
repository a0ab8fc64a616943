// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
	"meshvm.io/meshvm/internal/nft"
)

// readAttempts limits the number of restarts of Read due to concurrent changes.
// The start of a KubeVirt VM changes the rules about ten times within one
// second.
const readAttempts = 20

// Read dumps the table consistently. If another process changes any rule of the
// network namespace during the dump, it starts again, and finally fails with
// ErrBusy. It fails with ErrNoTable if the table does not exist.
func (h Handle) Read() (nft.Snapshot, error) {
	conn, err := dial()
	if err != nil {
		return nft.Snapshot{}, err
	}
	defer func() { _ = conn.Close() }()
	d := dumper{conn: conn}
	for range readAttempts {
		before, err := d.generation()
		if err != nil {
			return nft.Snapshot{}, err
		}
		s, tableErr := d.table(h.Table)
		after, err := d.generation()
		if err != nil {
			return nft.Snapshot{}, err
		}
		// An object that disappeared between two dumps also results in an
		// error, which is ignored if the ruleset changed.
		if before == after && !errors.Is(tableErr, nfnetlink.ErrInterrupted) {
			s.Generation = after
			return s, tableErr
		}
	}
	return nft.Snapshot{}, fmt.Errorf("%w %d times", ErrBusy, readAttempts)
}

// dumper reads objects of the family inet.
type dumper struct{ conn *netlink.Conn }

// request requests objects and calls each with the attributes of every object.
func (d dumper) request(message, reply uint16, flags netlink.HeaderFlags,
	attributes nfnetlink.Attributes, each func(*netlink.AttributeDecoder) error,
) error {
	m, err := nfnetlink.Request(nfnetlink.NFTables(message), flags, unix.NFPROTO_INET, attributes)
	if err != nil {
		return err
	}
	return nfnetlink.Query(d.conn, m, nfnetlink.NFTables(reply), each)
}

func (d dumper) generation() (uint32, error) {
	id, err := nfnetlink.Generation(d.conn)
	if err != nil {
		return 0, fmt.Errorf("read the ruleset's generation: %w", supported(err))
	}
	return id, nil
}

// named returns the attribute with the name of an object.
func named(attribute uint16, name string) nfnetlink.Attributes {
	return func(ae *netlink.AttributeEncoder) error {
		ae.String(attribute, name)
		return nil
	}
}

// table reads one table with its contents.
func (d dumper) table(name string) (nft.Snapshot, error) {
	s := nft.Snapshot{Table: nft.Table{Family: nft.FamilyInet, Name: name}}
	err := d.request(unix.NFT_MSG_GETTABLE, unix.NFT_MSG_NEWTABLE, 0, named(unix.NFTA_TABLE_NAME, name), func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == unix.NFTA_TABLE_FLAGS {
				s.Table.Flags = flagNames(ad.Uint32(), tableFlags)
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return s, ErrNoTable
	case err != nil:
		return s, fmt.Errorf("read table %s: %w", name, err)
	}
	if err := d.sets(&s.Table); err != nil {
		return s, fmt.Errorf("read the sets of table %s: %w", name, err)
	}
	if err := d.chains(&s.Table); err != nil {
		return s, fmt.Errorf("read the chains of table %s: %w", name, err)
	}
	if s.Counters, err = d.rules(&s.Table); err != nil {
		return s, fmt.Errorf("read the rules of table %s: %w", name, err)
	}
	return s, nil
}

func (d dumper) sets(t *nft.Table) error {
	err := d.request(unix.NFT_MSG_GETSET, unix.NFT_MSG_NEWSET, netlink.Dump, named(unix.NFTA_SET_TABLE, t.Name), func(ad *netlink.AttributeDecoder) error {
		table, s := decodeSet(ad)
		if table == t.Name {
			t.Sets = append(t.Sets, s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range t.Sets {
		var keys []setKey
		err := d.request(unix.NFT_MSG_GETSETELEM, unix.NFT_MSG_NEWSETELEM, netlink.Dump, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name)
			ae.String(unix.NFTA_SET_ELEM_LIST_SET, t.Sets[i].Name)
			return nil
		}, func(ad *netlink.AttributeDecoder) error {
			keys = append(keys, decodeElements(ad)...)
			return nil
		})
		if err != nil {
			return fmt.Errorf("set %s: %w", t.Sets[i].Name, err)
		}
		t.Sets[i].Elements = elementTextsOf(t.Sets[i], keys)
	}
	return nil
}

func (d dumper) chains(t *nft.Table) error {
	return d.request(unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_NEWCHAIN, netlink.Dump, nfnetlink.None,
		func(ad *netlink.AttributeDecoder) error {
			table, c := decodeChain(ad)
			if table == t.Name {
				t.Chains = append(t.Chains, c)
			}
			return nil
		})
}

func (d dumper) rules(t *nft.Table) ([]nft.RuleCounter, error) {
	var counters []nft.RuleCounter
	err := d.request(unix.NFT_MSG_GETRULE, unix.NFT_MSG_NEWRULE, netlink.Dump, named(unix.NFTA_RULE_TABLE, t.Name), func(ad *netlink.AttributeDecoder) error {
		kr, err := decodeRule(ad)
		if err != nil || kr.table != t.Name {
			return err
		}
		for i := range t.Chains {
			if c := &t.Chains[i]; c.Name == kr.chain {
				if kr.counter != nil {
					counters = append(counters, nft.RuleCounter{
						Chain: c.Name, Index: len(c.Rules),
						Packets: kr.counter.Packets, Bytes: kr.counter.Bytes,
					})
				}
				c.Rules = append(c.Rules, kr.rule)
			}
		}
		return nil
	})
	return counters, err
}
