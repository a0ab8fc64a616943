// SPDX-License-Identifier: Apache-2.0

package nfnetlink

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Dial opens a netfilter socket in the network namespace of the calling thread
// and subscribes it to multicast groups (unix.NFNLGRP_*).
func Dial(groups ...uint32) (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", err)
	}
	for _, g := range groups {
		if err := conn.JoinGroup(g); err != nil {
			return nil, errors.Join(fmt.Errorf("join netlink group %d: %w", g, err), conn.Close())
		}
	}
	// Extended error messages, not supported by kernels before 4.12.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	return conn, nil
}

// Query sends a request and calls each with the attributes of every reply of a
// type. It returns ErrInterrupted if a dump is inconsistent.
func Query(conn *netlink.Conn, request netlink.Message, reply netlink.HeaderType, each func(*netlink.AttributeDecoder) error) error {
	replies, err := conn.Execute(request)
	if err != nil {
		return err
	}
	for _, r := range replies {
		if r.Header.Flags&netlink.DumpInterrupted != 0 {
			return ErrInterrupted
		}
		if r.Header.Type != reply {
			continue
		}
		if err := Decode(r.Data, each); err != nil {
			return err
		}
	}
	return nil
}

// Generation returns the generation of the ruleset of the network namespace
// (linux/netfilter/nf_tables.h, NFTA_GEN_ID). Every change of a rule changes it.
func Generation(conn *netlink.Conn) (uint32, error) {
	request, err := Request(NFTables(unix.NFT_MSG_GETGEN), 0, unix.NFPROTO_INET, None)
	if err != nil {
		return 0, err
	}
	var id uint32
	err = Query(conn, request, NFTables(unix.NFT_MSG_NEWGEN), func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				id = ad.Uint32()
			}
		}
		return nil
	})
	return id, err
}
