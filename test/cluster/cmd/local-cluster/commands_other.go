// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

// nodeCommands are the commands that need a node. A node needs Linux.
var nodeCommands = map[string]command{}
