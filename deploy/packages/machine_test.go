package packages_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// release is the oldest Debian that the packages are for.
const release = "bookworm"

// A machine is a Debian with nothing but what every Debian has, and systemd's files, in
// a directory. What is asked of systemd there is noted and not done.
type machine struct {
	dir string
}

// newMachine unpacks a machine for the length of the test. The first one of all is
// made from Debian's packages, which takes a minute, and kept in the user's cache.
func newMachine(t *testing.T) *machine {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(cache, "posthorn", "debian-"+release+"-"+runtime.GOARCH+".tar")
	if _, err := os.Stat(tree); errors.Is(err, fs.ErrNotExist) {
		bootstrap(t, tree)
	}
	m := &machine{dir: t.TempDir()}
	m.outside(t, `tar --extract --file "$1" --directory "$0"`, tree)
	t.Cleanup(func() { m.outside(t, `rm -rf --one-file-system "$0"/*`) })
	for _, name := range []string{"systemctl", "deb-systemd-invoke"} {
		m.write(t, "/usr/bin/"+name, "#!/bin/sh\necho "+name+" \"$@\" >>/asked\n")
		m.run(t, "chmod", "755", "/usr/bin/"+name)
	}
	m.run(t, "mkdir", "-p", "/run/systemd/system") // by this systemd is known to run (sd_booted(3))
	return m
}

func bootstrap(t *testing.T, tree string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(tree), 0o700); err != nil {
		t.Fatal(err)
	}
	unfinished := filepath.Join(t.TempDir(), "debian.tar")
	output(t, "mmdebstrap", "--variant=essential", "--include=systemd,passwd", release, unfinished)
	output(t, "mv", unfinished, tree)
}

// namespace is a command that gives what follows a namespace of its own for mounts and,
// where we are not root, one in which we are, with the users of /etc/subuid.
func namespace() []string {
	if os.Geteuid() == 0 {
		return []string{"unshare", "--mount"}
	}
	return []string{"unshare", "--mount", "--user", "--map-root-user", "--map-auto"}
}

// furnished begins a script that works within the machine: the kernel's file systems.
const furnished = `mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && `

// command is one that runs in the machine, with the network of ours.
func (m *machine) command(args ...string) *exec.Cmd {
	script := furnished + `exec chroot "$0" "$@"`
	all := append(append(namespace(), "sh", "-c", script, m.dir), args...)
	cmd := exec.Command(all[0], all[1:]...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// run runs a command in the machine and gives what it prints.
func (m *machine) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.try(args...)
	if err != nil {
		t.Fatalf("%q: %v:\n%s", args, err, out)
	}
	return out
}

func (m *machine) try(args ...string) (string, error) {
	out, err := m.command(args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// outside runs a script on the directory, $0, with root's rights on it.
func (m *machine) outside(t *testing.T, script string, args ...string) {
	t.Helper()
	all := append(append(namespace(), "sh", "-c", script, m.dir), args...)
	output(t, all[0], all[1:]...)
}

// write writes a file as root does with an editor: owner and rights stay.
func (m *machine) write(t *testing.T, path, text string) {
	t.Helper()
	cmd := m.command("tee", path)
	cmd.Stdin = strings.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", path, err, &stderr)
	}
}

// bring copies a file of ours to /tmp there.
func (m *machine) bring(t *testing.T, file string) (path string) {
	t.Helper()
	m.outside(t, `cp "$1" "$0/tmp/"`, file)
	return "/tmp/" + filepath.Base(file)
}

// asked gives what systemd was asked for since the last time.
func (m *machine) asked(t *testing.T) []string {
	t.Helper()
	text := m.run(t, "sh", "-c", "touch /asked && cat /asked && rm /asked")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
