// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// capabilityXattr is the extended attribute with the capabilities of a file.
const capabilityXattr = "security.capability"

// Layer writes the tar file of one image layer. All entries that Dir, File, Bytes
// and Link add have the time 1970, so that the same content results in the same
// digest.
type Layer struct {
	tw   *tar.Writer
	dirs map[string]bool
	// UID and GID own the entries that Dir, File, Bytes and Link add.
	UID, GID int
}

// NewLayer starts a layer on w.
func NewLayer(w io.Writer) *Layer {
	return &Layer{tw: tar.NewWriter(w), dirs: map[string]bool{}}
}

// WriteLayer writes a layer to the file path. fill adds its entries.
func WriteLayer(path string, fill func(*Layer) error) (err error) {
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	l := NewLayer(f)
	err = errors.Join(fill(l), l.tw.Close(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

// Dir adds a directory and its missing parents.
func (l *Layer) Dir(name string, mode int64) error {
	name = filepath.Clean("/" + name)[1:]
	if name == "" || l.dirs[name] {
		return nil
	}
	if err := l.Dir(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	l.dirs[name] = true
	return l.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

// Bytes adds a file with the given content.
func (l *Layer) Bytes(name string, mode int64, content []byte) error {
	if err := l.Dir(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return l.add(&tar.Header{Name: clean(name), Mode: mode, Size: int64(len(content))}, content)
}

// File adds a copy of the file at path. caps lists the effective and permitted
// file capabilities, for example unix.CAP_NET_BIND_SERVICE.
func (l *Layer) File(name string, mode int64, path string, caps ...int) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := l.Dir(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	h := &tar.Header{Name: clean(name), Mode: mode, Size: int64(len(content))}
	if len(caps) > 0 {
		h.PAXRecords = map[string]string{"SCHILY.xattr." + capabilityXattr: string(capabilities(caps))}
	}
	return l.add(h, content)
}

// Link adds a symbolic link.
func (l *Layer) Link(name, target string) error {
	if err := l.Dir(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return l.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: clean(name), Linkname: target, Mode: 0o777}, nil)
}

func clean(name string) string { return filepath.Clean("/" + name)[1:] }

func (l *Layer) add(h *tar.Header, content []byte) error {
	h.Uid, h.Gid, h.ModTime = l.UID, l.GID, time.Unix(0, 0)
	if err := l.tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := l.tw.Write(content)
	return err
}

// capabilities encodes a file's capabilities as struct vfs_cap_data revision 2
// of linux/capability.h, with the effective flag.
func capabilities(caps []int) []byte {
	var set uint64
	for _, c := range caps {
		set |= 1 << c
	}
	out := make([]byte, 20)
	binary.LittleEndian.PutUint32(out[0:], 0x02000001)
	binary.LittleEndian.PutUint32(out[4:], uint32(set))      // permitted, low half
	binary.LittleEndian.PutUint32(out[12:], uint32(set>>32)) // permitted, high half
	return out
}

// Tree adds all files below root with their owners, modes, links and file
// capabilities. It omits sockets, devices, and the paths (relative to root) for
// which skip returns true, including their contents.
func (l *Layer) Tree(root string, skip func(path string) bool) error {
	inodes := map[uint64]string{}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return err
		}
		if skip(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return l.node(path, rel, inodes)
	})
}

func (l *Layer) node(path, rel string, inodes map[uint64]string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&(fs.ModeSocket|fs.ModeDevice|fs.ModeNamedPipe) != 0 {
		return nil
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = rel, "", ""
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if info.IsDir() {
		h.Name += "/"
		l.dirs[rel] = true
	}
	if !info.Mode().IsRegular() {
		return l.tw.WriteHeader(h)
	}
	return l.regular(path, h, inodes)
}

// regular adds a file, or a hard link if the layer already contains its inode.
func (l *Layer) regular(path string, h *tar.Header, inodes map[uint64]string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if st.Nlink > 1 {
		if first, ok := inodes[st.Ino]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return l.tw.WriteHeader(h)
		}
		inodes[st.Ino] = h.Name
	}
	buf := make([]byte, 64)
	if n, err := unix.Lgetxattr(path, capabilityXattr, buf); err == nil {
		h.PAXRecords = map[string]string{"SCHILY.xattr." + capabilityXattr: string(buf[:n])}
	}
	if err := l.tw.WriteHeader(h); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read-only file
	_, err = io.Copy(l.tw, f)
	return err
}
