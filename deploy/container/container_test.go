// Package container_test does what an engine would do with the container files, without
// one: it runs the steps of the build into a directory, and starts both services as
// compose.yaml says, in namespaces of their own where the ports and names are theirs.
package container_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// root is the repository.
const root = "../.."

// An instruction is one of a Containerfile.
type instruction struct{ name, args string }

// stages reads a Containerfile. Each begins with a FROM.
func stages(t *testing.T, file string) (all [][]instruction) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(strings.Join(lines, "\n"), "\\\n", ""), "\n") {
		name, args, _ := strings.Cut(line, " ")
		if name == "FROM" {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], instruction{name, strings.TrimSpace(args)})
	}
	return all
}

// only gives the arguments of the one instruction of that name.
func only(t *testing.T, stage []instruction, name string) string {
	t.Helper()
	var found []string
	for _, i := range stage {
		if i.name == name {
			found = append(found, i.args)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d times %s: %q", len(found), name, found)
	}
	return found[0]
}

// directory gives the step of a Containerfile that makes one.
func directory(t *testing.T, file string) string {
	t.Helper()
	for _, i := range stages(t, file)[0] {
		if i.name == "RUN" && strings.HasPrefix(i.args, "install -d ") {
			return i.args
		}
	}
	t.Fatalf("%s makes no directory", file)
	return ""
}

// words reads the array of an ENTRYPOINT or CMD.
func words(t *testing.T, array string) (all []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(array), &all); err != nil {
		t.Fatalf("%s: %v", array, err)
	}
	return all
}

// A service is one of compose.yaml.
type service struct {
	Build       struct{ Context, Dockerfile string }
	DependsOn   []string `yaml:"depends_on"`
	Environment map[string]string
	Ports       []string
	Volumes     []string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Restart     string
}

type compose struct {
	Services map[string]service
	Volumes  map[string]any
}

func readCompose(t *testing.T) (c compose) {
	t.Helper()
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCompose: what compose.yaml names is there, and what it publishes is published to
// this machine alone.
func TestCompose(t *testing.T) {
	c := readCompose(t)
	for name, s := range c.Services {
		file := filepath.Join(s.Build.Context, s.Build.Dockerfile)
		all := stages(t, file)
		exposed := strings.Fields(only(t, all[len(all)-1], "EXPOSE"))
		for _, port := range s.Ports {
			parts := strings.Split(port, ":")
			if parts[0] != "127.0.0.1" || !slices.Contains(exposed, parts[2]) {
				t.Errorf("%s publishes %s and exposes %q", name, port, exposed)
			}
		}
		for _, volume := range s.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if _, err := os.Stat(from); strings.HasPrefix(from, ".") && err != nil {
				t.Error(err)
			}
			if _, named := c.Volumes[from]; !strings.HasPrefix(from, ".") && !named {
				t.Errorf("%s has no volume %s", name, from)
			}
		}
		for _, i := range all[len(all)-1] {
			if source := strings.Fields(i.args); i.name == "COPY" && !strings.Contains(i.args, "--from") {
				if _, err := os.Stat(filepath.Join(root, source[len(source)-2])); err != nil {
					t.Error(err)
				}
			}
		}
	}
	posthorn := c.Services["posthorn"]
	if !posthorn.ReadOnly || !slices.Equal(posthorn.CapDrop, []string{"ALL"}) || !slices.Equal(posthorn.SecurityOpt, []string{"no-new-privileges"}) {
		t.Errorf("posthorn is not shut off: %+v", posthorn)
	}
}

// TestImage: both containers, run as described, send a message.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	all := stages(t, "Containerfile")
	final := all[1]
	if want := []instruction{{"FROM", "scratch"}, {"COPY", "--from=build /image/ /"}}; !slices.Equal(want, final[:2]) {
		t.Fatalf("the image is made by %q", final[:2])
	}
	for _, i := range all[0] {
		if i.name == "RUN" {
			inNamespace(t, root, strings.ReplaceAll(i.args, "/image", image), []string{"VERSION=v1.2.3"})
		}
	}
	s := readCompose(t).Services
	command := append(words(t, only(t, final, "ENTRYPOINT")), words(t, only(t, final, "CMD"))...)
	environment := append(strings.Fields(only(t, final, "ENV")), "POSTHORN_COMPONENT_SECRET=s3cret")
	if got := slices.Collect(maps.Keys(s["posthorn"].Environment)); !slices.Equal(got, []string{"POSTHORN_COMPONENT_SECRET"}) {
		t.Fatalf("compose.yaml sets %q", got)
	}
	mounts := fmt.Sprintf("mount --bind posthorn.yaml %[1]s/etc/posthorn/posthorn.yaml\nmount --bind \"$certs\" %[1]s/certs\n", image)
	values := map[string]string{
		"@DIR@": dir, "@IMAGE@": image, "@MOUNTS@": mounts,
		"@USER@": only(t, final, "USER"), "@COMMAND@": strings.Join(command, " "), "@ENV@": strings.Join(environment, " "),
		"@PROGRAM@": command[0],
		"@CERTS@":   strings.ReplaceAll(directory(t, "prosody/Containerfile"), "/etc/prosody/certs", filepath.Join(dir, "certs")),
	}
	text, err := os.ReadFile("try.sh")
	if err != nil {
		t.Fatal(err)
	}
	script := string(text)
	for name, value := range values {
		script = strings.ReplaceAll(script, name, value)
	}
	out := inNamespace(t, ".", script, []string{"COMPONENT_SECRET=s3cret"})
	for _, want := range []string{"ok    configuration", `"status":"delivered"`, "disk full", "read-only: yes", "user: 5288 5288"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "FAIL") {
		t.Errorf("posthorn check fails:\n%s", out)
	}
}

// inNamespace runs a script as root of namespaces of its own: mounts, network and, where
// we are not root, users. What it starts ends with it.
func inNamespace(t *testing.T, dir, script string, env []string) string {
	t.Helper()
	args := []string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if strings.Contains(script, "ip link") {
		args = append(args, "--net")
	}
	if os.Geteuid() != 0 {
		args = append(args, "--user", "--map-root-user", "--map-auto")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a build on a machine that has never built
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", append(args, "sh", "-euc", script)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, script, out)
	}
	return string(out)
}
