// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nft"
)

// Replace writes the table in one transaction and replaces any table of the
// same name. No packet is processed by an intermediate state. If Replace fails,
// the previous table is still in place.
func (h Handle) Replace(t nft.Table) error {
	return replacement(t).commit()
}

// replacement returns the batch of Replace. It creates the table before it
// deletes it, so that the deletion always succeeds.
func replacement(t nft.Table) *batch {
	b := &batch{}
	b.addTable(t)
	b.deleteTable(t)
	b.addTable(t)
	for i, s := range t.Sets {
		b.addSet(t, s, uint32(i+1))
	}
	for _, c := range t.Chains {
		b.addChain(t, c)
	}
	for _, c := range t.Chains {
		for i, r := range c.Rules {
			b.addRule(t, c, i, r)
		}
	}
	return b
}

// Remove deletes the table. It succeeds if the table does not exist.
func (h Handle) Remove() error {
	b := &batch{}
	b.deleteTable(nft.Table{Family: nft.FamilyInet, Name: h.Table})
	if err := b.commit(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// AddElements adds the elements of s to the existing set of the same name. It
// fails with ErrChanged and changes nothing if the generation of the ruleset
// differs, because the table may have changed since it was read.
func (h Handle) AddElements(s nft.Set, generation uint32) error {
	b := &batch{}
	b.Generation = generation
	keys, err := setKeys(s)
	if err != nil {
		return err
	}
	b.addElements(nft.Table{Family: nft.FamilyInet, Name: h.Table}, s, 0, keys)
	return b.commit()
}

func (b *batch) addTable(t nft.Table) {
	b.Add(unix.NFT_MSG_NEWTABLE, netlink.Create, "table "+t.Name, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_TABLE_NAME, t.Name)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, 0)
		return nil
	})
}

func (b *batch) deleteTable(t nft.Table) {
	b.Add(unix.NFT_MSG_DELTABLE, 0, "table "+t.Name, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_TABLE_NAME, t.Name)
		return nil
	})
}

// setTypes are the numbers of the set types. Only nft uses them (nftables,
// include/datatype.h, enum datatypes).
var setTypes = map[nft.DataType]uint32{nft.TypeIPv4Address: 7, nft.TypeIPv6Address: 8, nft.TypePort: 13}

// Userdata of sets and elements, which only nft uses (libnftnl,
// include/libnftnl/udata.h), as type, length, value: the byte order of the
// keys, and the flag of an interval that includes the greatest key.
var (
	userdataBigEndian    = binary.NativeEndian.AppendUint32([]byte{0, 4}, 2)
	userdataOpenInterval = binary.NativeEndian.AppendUint32([]byte{1, 4}, 1)
)

func (b *batch) addSet(t nft.Table, s nft.Set, id uint32) {
	b.Add(unix.NFT_MSG_NEWSET, netlink.Create, "set "+s.Name, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_SET_TABLE, t.Name)
		ae.String(unix.NFTA_SET_NAME, s.Name)
		var flags uint32
		if s.IsInterval() {
			flags = unix.NFT_SET_INTERVAL
		}
		ae.Uint32(unix.NFTA_SET_FLAGS, flags)
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, setTypes[s.Type])
		ae.Uint32(unix.NFTA_SET_KEY_LEN, s.Type.Size())
		ae.Uint32(unix.NFTA_SET_ID, id)
		ae.Bytes(unix.NFTA_SET_USERDATA, userdataBigEndian)
		return nil
	})
	keys, err := setKeys(s)
	b.Fail(err)
	for len(keys) > 0 {
		n := min(len(keys), keysPerMessage)
		b.addElements(t, s, id, keys[:n])
		keys = keys[n:]
	}
}

// keysPerMessage keeps the list of elements below the maximum of 64 KiB of a
// netlink attribute.
const keysPerMessage = 1000

// setKey is a set element in the kernel's representation. In an interval set it
// is the first key of a range or, if end is set, the first key after a range.
type setKey struct {
	key  nft.Key
	end  bool
	open bool
}

// setKeys returns the elements of a set in the kernel's representation.
func setKeys(s nft.Set) ([]setKey, error) {
	keys := make([]setKey, 0, 2*len(s.Elements)+1)
	for i, text := range s.Elements {
		r, err := nft.ParseElement(s.Type, text)
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", s.Name, err)
		}
		if !s.IsInterval() {
			keys = append(keys, setKey{key: r.First})
			continue
		}
		if i == 0 && r.First != (nft.Key{}) {
			// nft starts every interval set with the end of the range of keys
			// that are not in the set.
			keys = append(keys, setKey{end: true})
		}
		open := r.Last == nft.MaxKey(s.Type)
		keys = append(keys, setKey{key: r.First, open: open})
		if !open {
			keys = append(keys, setKey{key: r.Last.Next(), end: true})
		}
	}
	return keys, nil
}

func (b *batch) addElements(t nft.Table, s nft.Set, id uint32, keys []setKey) {
	b.Add(unix.NFT_MSG_NEWSETELEM, netlink.Create, "elements of set "+s.Name, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
		ae.Uint32(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
		ae.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
			for _, k := range keys {
				list.Nested(unix.NFTA_LIST_ELEM, func(elem *netlink.AttributeEncoder) error {
					if k.end {
						elem.Uint32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
					}
					elem.Nested(unix.NFTA_SET_ELEM_KEY, func(key *netlink.AttributeEncoder) error {
						key.Bytes(unix.NFTA_DATA_VALUE, k.key.Bytes(s.Type))
						return nil
					})
					if k.open {
						elem.Bytes(unix.NFTA_SET_ELEM_USERDATA, userdataOpenInterval)
					}
					return nil
				})
			}
			return nil
		})
		return nil
	})
}

// hookNumbers are the kernel's numbers of hooks (linux/netfilter.h, enum
// nf_inet_hooks).
var hookNumbers = map[nft.Hook]uint32{
	nft.HookPrerouting:  unix.NF_INET_PRE_ROUTING,
	nft.HookInput:       unix.NF_INET_LOCAL_IN,
	nft.HookForward:     unix.NF_INET_FORWARD,
	nft.HookOutput:      unix.NF_INET_LOCAL_OUT,
	nft.HookPostrouting: unix.NF_INET_POST_ROUTING,
}

// policyNumbers are the kernel's numbers of policies (linux/netfilter.h).
var policyNumbers = map[string]uint32{"drop": 0, "accept": 1}

func (b *batch) addChain(t nft.Table, c nft.Chain) {
	b.Add(unix.NFT_MSG_NEWCHAIN, netlink.Create, "chain "+c.Name, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_CHAIN_TABLE, t.Name)
		ae.String(unix.NFTA_CHAIN_NAME, c.Name)
		if c.Hook == "" {
			return nil
		}
		ae.Nested(unix.NFTA_CHAIN_HOOK, func(hook *netlink.AttributeEncoder) error {
			hook.Uint32(unix.NFTA_HOOK_HOOKNUM, hookNumbers[c.Hook])
			hook.Int32(unix.NFTA_HOOK_PRIORITY, c.Priority)
			return nil
		})
		ae.Uint32(unix.NFTA_CHAIN_POLICY, policyNumbers[c.Policy])
		ae.String(unix.NFTA_CHAIN_TYPE, c.Type)
		return nil
	})
}

// userdataComment is the type of a comment in the userdata of a rule (libnftnl,
// NFTNL_UDATA_RULE_COMMENT).
const userdataComment = 0

func (b *batch) addRule(t nft.Table, c nft.Chain, index int, r nft.Rule) {
	object := fmt.Sprintf("rule %d of chain %s", index+1, c.Name)
	b.Add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, object, func(ae *netlink.AttributeEncoder) error {
		exprs, err := expressions(t, r)
		if err != nil {
			return err
		}
		ae.String(unix.NFTA_RULE_TABLE, t.Name)
		ae.String(unix.NFTA_RULE_CHAIN, c.Name)
		ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(list *netlink.AttributeEncoder) error {
			for _, e := range exprs {
				data, err := expr.Marshal(unix.NFPROTO_INET, e)
				if err != nil {
					return err
				}
				list.Bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
			}
			return nil
		})
		switch n := len(r.Comment); {
		case n > nft.MaxComment:
			return fmt.Errorf("%w: comment of %d bytes", nft.ErrValue, n)
		case n > 0:
			item := append([]byte{userdataComment, byte(n + 1)}, r.Comment...)
			ae.Bytes(unix.NFTA_RULE_USERDATA, append(item, 0))
		}
		return nil
	})
}
