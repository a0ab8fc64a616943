// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/nftrules/plantest"
)

// TestEncodedTableDecodes decodes the batch of a table as if it were a
// dump.
func TestEncodedTableDecodes(t *testing.T) {
	for name, p := range plantest.All() {
		t.Run(name, func(t *testing.T) {
			want, err := nftrules.Build(p)
			if err != nil {
				t.Fatal(err)
			}
			b := replacement(want.Table)
			if b.Err() != nil {
				t.Fatal(b.Err())
			}
			got := decodeBatch(t, b.Messages())
			if differences := nft.Compare(want.Table, got); len(differences) > 0 {
				t.Errorf("decoded to a different table: %q", differences)
			}
			if diff := cmp.Diff(want.Table, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("decoded to a different table (-want +got):\n%s", diff)
			}
		})
	}
}

// decodeBatch decodes the objects that a batch creates.
func decodeBatch(t *testing.T, messages []netlink.Message) nft.Table {
	t.Helper()
	table := nft.Table{Family: nft.FamilyInet, Name: nftrules.TableName}
	for _, m := range messages {
		err := nfnetlink.Decode(m.Data, func(ad *netlink.AttributeDecoder) error {
			switch m.Header.Type {
			case nfnetlink.NFTables(unix.NFT_MSG_NEWSET):
				_, s := decodeSet(ad)
				table.Sets = append(table.Sets, s)
			case nfnetlink.NFTables(unix.NFT_MSG_NEWSETELEM):
				s := &table.Sets[len(table.Sets)-1]
				s.Elements = elementTextsOf(*s, decodeElements(ad))
			case nfnetlink.NFTables(unix.NFT_MSG_NEWCHAIN):
				_, c := decodeChain(ad)
				table.Chains = append(table.Chains, c)
			case nfnetlink.NFTables(unix.NFT_MSG_NEWRULE):
				kr, err := decodeRule(ad)
				if err != nil {
					return err
				}
				i := slices.IndexFunc(table.Chains, func(c nft.Chain) bool { return c.Name == kr.chain })
				table.Chains[i].Rules = append(table.Chains[i].Rules, kr.rule)
			default: // Tables do not contain other objects.
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return table
}

func TestBatchReplacesInOneTransaction(t *testing.T) {
	table, err := nftrules.Build(plantest.Full())
	if err != nil {
		t.Fatal(err)
	}
	b := replacement(table.Table)
	var got []netlink.HeaderType
	for _, m := range b.Messages()[:3] {
		got = append(got, m.Header.Type)
	}
	want := []netlink.HeaderType{
		nfnetlink.NFTables(unix.NFT_MSG_NEWTABLE), nfnetlink.NFTables(unix.NFT_MSG_DELTABLE), nfnetlink.NFTables(unix.NFT_MSG_NEWTABLE),
	}
	if !slices.Equal(want, got) {
		t.Errorf("batch starts with %v, want create, delete, create", got)
	}
}

func TestInvalidTables(t *testing.T) {
	for name, change := range map[string]func(t *nft.Table){
		"unrecognized match": func(t *nft.Table) { t.Chains[0].Rules[0].Matches[0] = nft.Match{Field: nft.FieldUnrecognized} },
		"unknown set": func(t *nft.Table) {
			t.Chains[0].Rules[0].Matches[0] = nft.Match{Field: nft.FieldTCPDestinationPort, Set: "none"}
		},
		"value of an unknown type":           func(t *nft.Table) { t.Chains[0].Rules[0].Matches[0].Value = "" },
		"odd prefix":                         func(t *nft.Table) { t.Chains[2].Rules[0].Matches[1].Value = "10.0.0.0/9" },
		"address that is not a host address": func(t *nft.Table) { t.Chains[2].Rules[0].Statement.Address = "guest" },
		"address with zone":                  func(t *nft.Table) { t.Chains[2].Rules[0].Statement.Address = "fe80::1%eth0" },
		"unknown family":                     func(t *nft.Table) { t.Chains[0].Rules[0].Statement.Family = "" },
		"unknown statement":                  func(t *nft.Table) { t.Chains[2].Rules[0].Statement.Kind = "queue" },
		"long comment":                       func(t *nft.Table) { t.Chains[2].Rules[0].Comment = string(make([]byte, nft.MaxComment+1)) },
		"element of an unknown type":         func(t *nft.Table) { t.Sets[0].Elements[0] = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			table, err := nftrules.Build(plantest.Full())
			if err != nil {
				t.Fatal(err)
			}
			change(&table.Table)
			if err := (Handle{Table: nftrules.TableName}).Replace(table.Table); !errors.Is(err, nft.ErrValue) {
				t.Errorf("error %v, want errValue before anything is sent", err)
			}
		})
	}
}

func TestSupported(t *testing.T) {
	for errno, want := range map[unix.Errno]bool{
		unix.ENOENT: true, unix.EOPNOTSUPP: true, unix.EPROTONOSUPPORT: true, unix.EAFNOSUPPORT: true,
		unix.EPERM: false, unix.EBUSY: false, unix.ENOBUFS: false, unix.EEXIST: false,
	} {
		err := supported(errno)
		if errors.Is(err, ErrUnsupported) != want || !errors.Is(err, errno) {
			t.Errorf("%v became %v, unsupported: want %t", errno, err, want)
		}
	}
}

// FuzzComment decodes arbitrary userdata, which any program can write.
func FuzzComment(f *testing.F) {
	f.Add([]byte{0, 3, 'a', 'b', 0})
	f.Add([]byte{1, 1, 1, 0, 2, 'a', 0})
	f.Add([]byte{0, 255})
	f.Fuzz(func(_ *testing.T, b []byte) { _ = comment(b) })
}

// FuzzReadBack decodes arbitrary messages of a dump. If the result is a rule
// that this package can write, then writing and decoding it again must result
// in the same rule. Otherwise, two different rules of a kernel could appear to
// be equal.
func FuzzReadBack(f *testing.F) {
	for _, p := range plantest.All() {
		table, err := nftrules.Build(p)
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range replacement(table.Table).Messages() {
			f.Add(uint16(m.Header.Type&0xff), m.Data)
		}
	}
	f.Fuzz(func(t *testing.T, message uint16, data []byte) {
		var rule nft.Rule
		err := nfnetlink.Decode(data, func(ad *netlink.AttributeDecoder) (err error) {
			switch message {
			case unix.NFT_MSG_NEWSET:
				decodeSet(ad)
			case unix.NFT_MSG_NEWSETELEM:
				keys := decodeElements(ad)
				for _, kind := range []nft.DataType{nft.TypePort, nft.TypeIPv4Address, nft.TypeIPv6Address} {
					elementTextsOf(nft.Set{Type: kind}, slices.Clone(keys))
					elementTextsOf(nft.Set{Type: kind, Flags: []string{nft.FlagInterval}}, slices.Clone(keys))
				}
			case unix.NFT_MSG_NEWCHAIN:
				decodeChain(ad)
			default:
				var kr kernelRule
				kr, err = decodeRule(ad)
				rule = kr.rule
			}
			return err
		})
		if err != nil {
			return
		}
		// Encoded as a rule of a table with all sets that the rule looks up.
		written := nft.Table{Family: nft.FamilyInet, Name: nftrules.TableName, Chains: []nft.Chain{{Name: "c", Rules: []nft.Rule{rule}}}}
		for _, m := range rule.Matches {
			if m.Set != "" && written.Set(m.Set) == nil {
				written.Sets = append(written.Sets, nft.Set{Name: m.Set, Type: nft.TypePort})
			}
		}
		b := replacement(written)
		if b.Err() != nil {
			return // This package does not write such rules.
		}
		got := decodeBatch(t, b.Messages()).Chains[0].Rules[0]
		if diff := cmp.Diff(rule, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("encoding and decoding changed the rule (-first +again):\n%s", diff)
		}
	})
}
