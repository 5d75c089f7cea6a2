// Package packages_test builds the packages and lives through their whole life in a
// clean Debian, beside a real Prosody: installed, configured, upgraded, removed, purged.
// systemd does not run there: the test starts what the unit would, as its user, and
// notes what the packages ask of systemd.
package packages_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// root is the repository.
const root = "../.."

// What git describe says of the two builds that there are in these tests.
const (
	oldVersion     = "v1.0.0"
	renewedVersion = "v1.0.1-1-gabc1234"
)

// TestPackages builds twice, and tries what was built.
func TestPackages(t *testing.T) {
	old, renewed := build(t, root, oldVersion), build(t, root, renewedVersion)
	t.Run("reproducible", func(t *testing.T) { testReproducible(t, old) })
	t.Run("lintian", func(t *testing.T) { testLintian(t, old) })
	t.Run("contents", func(t *testing.T) { testContents(t, old) })
	t.Run("life of the deb", func(t *testing.T) { testDebLife(t, old, renewed) })
	t.Run("life of the rpm", func(t *testing.T) { testRPMLife(t, old, renewed) })
}

// packages are the files of one build.
type packages struct{ deb, rpm string }

// build runs the build in the directory of a repository, for this machine alone.
func build(t *testing.T, repository, version string, env ...string) packages {
	t.Helper()
	out := t.TempDir()
	cmd := exec.Command("deploy/packages/build", out)
	cmd.Dir = repository
	cmd.Env = append(append(os.Environ(), "VERSION="+version, "ARCHITECTURES="+runtime.GOARCH), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return packages{only(t, filepath.Join(out, "*.deb")), only(t, filepath.Join(out, "*.rpm"))}
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %q, %v", pattern, files, err)
	}
	return files[0]
}

// output runs a command and gives what it prints.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v:\n%s%s", name, args, err, out, &stderr)
	}
	return string(out)
}

// testReproducible: the same commit, built by somebody else, elsewhere and in another
// time zone, gives the same bytes.
func testReproducible(t *testing.T, p packages) {
	copied := t.TempDir()
	output(t, "sh", "-c", `umask 077 && cd "$0" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$1"`, root, copied)
	gitDir := strings.TrimSpace(output(t, "git", "rev-parse", "--absolute-git-dir"))
	again := build(t, copied, oldVersion, "GIT_DIR="+gitDir, "TZ=Asia/Tokyo", "LC_ALL=C")
	for _, pair := range [][2]string{{p.deb, again.deb}, {p.rpm, again.rpm}} {
		if filepath.Base(pair[0]) != filepath.Base(pair[1]) {
			t.Errorf("%s and %s", pair[0], pair[1])
		}
		output(t, "cmp", pair[0], pair[1])
	}
}

// TestVersions: dpkg and rpm order what git describe says as it came to be.
func TestVersions(t *testing.T) {
	var versions []string
	for _, described := range []string{"ff4d85a", "v1.0.0-rc1", "v1.0.0-rc1-2-gabc1234", "v1.0.0", "v1.0.0-11-gabc1234", "v1.0.1", "v1.10.0"} {
		versions = append(versions, strings.TrimSpace(output(t, "./version", described, "345")))
	}
	want := []string{"0~345.gff4d85a", "1.0.0~rc1", "1.0.0~rc1+2.gabc1234", "1.0.0", "1.0.0+11.gabc1234", "1.0.1", "1.10.0"}
	if diff := cmp.Diff(want, versions); diff != "" {
		t.Error(diff)
	}
	for i := range len(versions) - 1 {
		output(t, "dpkg", "--compare-versions", versions[i], "lt", versions[i+1])
		expression := fmt.Sprintf(`%%{lua: print(rpm.vercmp(%q, %q))}`, versions[i], versions[i+1])
		if got := strings.TrimSpace(output(t, "rpm", "--eval", expression)); got != "-1" {
			t.Errorf("rpm compares %s with %s: %s", versions[i], versions[i+1], got)
		}
	}
}

// TestManual: the manual page is what the program says itself, every word of it.
func TestManual(t *testing.T) {
	dir := t.TempDir()
	program, page := filepath.Join(dir, "posthorn"), filepath.Join(dir, "posthorn.1")
	output(t, "go", "build", "-o", program, root+"/cmd/posthorn")
	if err := os.WriteFile(page, []byte(output(t, "./man", program, "2026-11-25")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("man", "--warnings", "--local-file", page)
	cmd.Env = append(os.Environ(), "MANWIDTH=120", "LC_ALL=C.UTF-8")
	var warnings bytes.Buffer
	cmd.Stderr = &warnings
	shown, err := cmd.Output()
	if err != nil || warnings.Len() > 0 {
		t.Fatalf("%v: %s", err, &warnings)
	}
	for _, command := range [][]string{{}, {"send"}, {"outbox"}, {"token"}, {"hook"}} {
		for line := range strings.Lines(output(t, program, append(command, "--help")...)) {
			if !strings.Contains(string(shown), strings.TrimSpace(line)) {
				t.Errorf("the manual page lacks %q", line)
			}
		}
	}
}

// testLintian: Debian finds nothing to say about the package.
func testLintian(t *testing.T, p packages) {
	if found := output(t, "lintian", "--allow-root", "--fail-on", "error,warning", p.deb); found != "" {
		t.Error(found)
	}
}

// testContents: both packages have the same files, with the rights that they need, and
// tell which is the administrator's.
func testContents(t *testing.T, p packages) {
	var inDeb, inRPM []string
	for line := range strings.Lines(output(t, "dpkg-deb", "--contents", p.deb)) {
		f := strings.Fields(line)
		if path := f[5]; !strings.HasSuffix(path, "/") {
			inDeb = append(inDeb, f[0]+" "+strings.Replace(f[1], "/", " ", 1)+" "+path[1:])
		}
	}
	for line := range strings.Lines(output(t, "rpm", "--query", "--package", "--queryformat", `[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]`, p.rpm)) {
		if !strings.HasPrefix(line, "d") {
			inRPM = append(inRPM, strings.TrimSpace(line))
		}
	}
	ownWays := func(line string) bool {
		return strings.Contains(line, "/copyright") || strings.Contains(line, "/changelog.gz") || strings.Contains(line, "lintian") || strings.Contains(line, "/LICENSE")
	}
	inDeb, inRPM = slices.DeleteFunc(inDeb, ownWays), slices.DeleteFunc(inRPM, ownWays)
	slices.Sort(inDeb)
	slices.Sort(inRPM)
	if diff := cmp.Diff(inDeb, inRPM); diff != "" {
		t.Errorf("the deb and the rpm differ:\n%s", diff)
	}
	for _, want := range []string{
		"-rwxr-xr-x root root /usr/bin/posthorn",
		"-rw-r----- root posthorn /etc/posthorn/posthorn.yaml",
		"-rw-r--r-- root root /usr/lib/systemd/system/posthorn.service",
		"-rw-r--r-- root root /usr/lib/systemd/system/posthorn.socket",
		"-rw-r--r-- root root /usr/share/man/man1/posthorn.1.gz",
		"-rw-r--r-- root root /usr/share/doc/posthorn/docs/operating.md",
	} {
		if !slices.Contains(inDeb, want) {
			t.Errorf("there is no %s in\n%s", want, strings.Join(inDeb, "\n"))
		}
	}
	const conffile = "/etc/posthorn/posthorn.yaml\n"
	if got := output(t, "dpkg-deb", "--info", p.deb, "conffiles"); got != conffile {
		t.Errorf("conffiles of the deb: %s", got)
	}
	if got := output(t, "rpm", "--query", "--package", "--configfiles", p.rpm); got != conffile {
		t.Errorf("configuration files of the rpm: %s", got)
	}
}
