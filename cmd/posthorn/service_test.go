package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"posthorn/internal/xmpptest"
)

const (
	serviceFile = "../../deploy/systemd/posthorn.service"
	socketFile  = "../../deploy/systemd/posthorn.socket"
)

// mostExposed is what systemd may say of the service, in tenths, from 0 to 100.
const mostExposed = 15

// TestServiceExposure: systemd knows every word of the units, and finds the service
// well shut off (systemd-analyze(1)).
func TestServiceExposure(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", fmt.Sprintf("--threshold=%d", mostExposed), serviceFile).CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	text, err := os.ReadFile(serviceFile)
	if err != nil {
		t.Fatal(err)
	}
	installed := filepath.Join(t.TempDir(), "posthorn.service")
	text = bytes.ReplaceAll(text, []byte("/usr/local/bin/posthorn"), []byte("/bin/true")) // a program that is there
	if err := os.WriteFile(installed, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", installed, socketFile).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestServiceSandbox: the program that is shipped works with no more system calls
// than the service allows, no capability, and nothing to write to but its state and a
// temporary directory of its own (PrivateTmp=).
// Namespaces and a filter made from the unit stand in for systemd.
func TestServiceSandbox(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	program, filter := filepath.Join(dir, "posthorn"), filepath.Join(dir, "filter")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if err := os.WriteFile(filter, readUnit(t, serviceFile).filter(t), 0o600); err != nil {
		t.Fatal(err)
	}
	script := `mount --bind "$1" "$1" && mount -o remount,bind,ro / && mount -t tmpfs none /var/tmp && exec env -u TMPDIR setpriv --bounding-set=-all --no-new-privs filtered "$0" "$2" "$3" "$4" "$5"`
	command := []string{"unshare", "-Urm", "sh", "-c", script, filter, state, program}
	o := keepsAll
	o.Uploads = true
	p := prosodyWithUsers(t, o)
	h := startPosthornBy(t, command, p, `store: ""`, fmt.Sprintf("store: %q", "sqlite:"+filepath.Join(state, "posthorn.db"))).ready(t)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Seccomp:\t2\n", "NoNewPrivs:\t1\n", "CapBnd:\t0000000000000000\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("posthorn's status lacks %q:\n%s", want, status)
		}
	}
	a := h.mustPost(t, "/msg/user", "on disk first", func(r *http.Request) { r.Header.Set("Idempotency-Key", "1") })
	if a.status != http.StatusCreated {
		t.Errorf("answer is %d %s", a.status, a.raw)
	}
	if a, err := h.postPicture("/msg/user", nil); err != nil || a.status != http.StatusCreated {
		t.Errorf("the answer to a file is %d %s, %v", a.status, a.raw, err)
	}
	if a := h.mustGet(t, "/healthz"); !strings.Contains(a.raw, `"store":"ok"`) {
		t.Errorf("healthz is %s", a.raw)
	}
}

// filtered is a command that runs another one under a filter for system calls: the
// file that holds it, the program, its arguments.
func filtered() {
	runtime.LockOSThread() // both are a thread's
	text, err := os.ReadFile(os.Args[1])
	if err == nil {
		program := make([]unix.SockFilter, len(text)/binary.Size(unix.SockFilter{}))
		err = binary.Read(bytes.NewReader(text), binary.NativeEndian, program)
		filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
		err = errors.Join(err, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0, 0))
	}
	if err == nil {
		err = syscall.Exec(os.Args[2], os.Args[2:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(exitFailed)
}

// A unit is a unit file of systemd: each directive's values.
type unit map[string][]string

func readUnit(t *testing.T, file string) unit {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	u := make(unit)
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(strings.TrimSpace(line), "="); found && key[0] != '#' {
			u[key] = append(u[key], value)
		}
	}
	return u
}

// systemCalls are those that the unit allows. A list that allows begins with
// @default (systemd.exec(5), SystemCallFilter=).
func (u unit) systemCalls(t *testing.T) map[string]bool {
	t.Helper()
	calls := expand(t, "@default")
	for _, value := range u["SystemCallFilter"] {
		names, denied := strings.CutPrefix(value, "~")
		for name := range strings.FieldsSeq(names) {
			for call := range expand(t, name) {
				calls[call] = !denied
			}
		}
	}
	maps.DeleteFunc(calls, func(_ string, allowed bool) bool { return !allowed })
	return calls
}

// expand asks systemd which system calls a group has.
func expand(t *testing.T, name string) map[string]bool {
	t.Helper()
	if !strings.HasPrefix(name, "@") {
		return map[string]bool{name: true}
	}
	out, err := exec.Command("systemd-analyze", "syscall-filter", name).Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	calls := make(map[string]bool)
	for _, member := range strings.Fields(regexp.MustCompile(`(?m)^@.*|#.*`).ReplaceAllString(string(out), "")) {
		maps.Copy(calls, expand(t, member))
	}
	return calls
}

// systemCallNumbers are those of this machine.
func systemCallNumbers(t *testing.T) map[string]uint32 {
	t.Helper()
	out, err := exec.Command("gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null").Output()
	if err != nil {
		t.Fatal(err)
	}
	numbers := make(map[string]uint32)
	for _, define := range regexp.MustCompile(`(?m)^#define __NR_(\w+) (\d+)$`).FindAllStringSubmatch(string(out), -1) {
		number, _ := strconv.ParseUint(define[2], 10, 32) // digits
		numbers[define[1]] = uint32(number)
	}
	return numbers
}

// Where seccomp(2) has what a filter looks at (struct seccomp_data).
const (
	atNumber   = 0
	atFirstArg = 16 // its lower half, on a little-endian machine
	atThirdArg = atFirstArg + 2*8
)

// filter is a program for seccomp(2) that refuses what the unit does, by
// SystemCallFilter=, RestrictAddressFamilies= and MemoryDenyWriteExecute=.
func (u unit) filter(t *testing.T) []byte {
	t.Helper()
	numbers := systemCallNumbers(t)
	program := []unix.SockFilter{loadAt(atNumber)}
	program = append(program, when(numbers["socket"], u.families(t)...)...)
	if slices.Equal(u["MemoryDenyWriteExecute"], []string{"yes"}) {
		const both = syscall.PROT_WRITE | syscall.PROT_EXEC
		program = append(program, when(numbers["mmap"], loadAt(atThirdArg), mask(both), unless(both, 1), refuse(syscall.EPERM))...)
		program = append(program, when(numbers["mprotect"], loadAt(atThirdArg), mask(syscall.PROT_EXEC), unless(syscall.PROT_EXEC, 1), refuse(syscall.EPERM))...)
	}
	for name := range u.systemCalls(t) {
		if number, here := numbers[name]; here {
			program = append(program, unless(number, 1), allow)
		}
	}
	program = append(program, refuse(syscall.EPERM))
	var out bytes.Buffer
	if err := binary.Write(&out, binary.NativeEndian, program); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// families lets a socket of an allowed address family pass.
func (u unit) families(t *testing.T) []unix.SockFilter {
	t.Helper()
	numbers := map[string]uint32{"AF_UNIX": unix.AF_UNIX, "AF_INET": unix.AF_INET, "AF_INET6": unix.AF_INET6}
	program := []unix.SockFilter{loadAt(atFirstArg)}
	for name := range strings.FieldsSeq(strings.Join(u["RestrictAddressFamilies"], " ")) {
		number, known := numbers[name]
		if !known {
			t.Fatalf("%s has no number here", name)
		}
		program = append(program, unless(number, 1), allow)
	}
	return append(program, refuse(syscall.EAFNOSUPPORT))
}

var allow = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}

func refuse(with syscall.Errno) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(with)}
}

func loadAt(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func mask(bits uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: bits}
}

// unless skips the next few where what is loaded is not k.
func unless(k uint32, skip uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
}

// when runs a part for one system call, after which its number is loaded again.
func when(number uint32, part ...unix.SockFilter) []unix.SockFilter {
	part = append(part, loadAt(atNumber))
	return append([]unix.SockFilter{unless(number, uint8(len(part)))}, part...)
}

// TestStopsInTime: systemd waits longer for the end than posthorn may take.
func TestStopsInTime(t *testing.T) {
	seconds, err := strconv.Atoi(strings.TrimSuffix(strings.Join(readUnit(t, serviceFile)["TimeoutStopSec"], ""), "s"))
	if err != nil || float64(seconds) < (stopTimeout+confirmLimit).Seconds() {
		t.Errorf("TimeoutStopSec is %d, %v", seconds, err)
	}
}

// nobody is a server that is not there.
var nobody = &xmpptest.Server{Name: "none", ComponentAddress: "127.0.0.1:1", ClientAddress: "127.0.0.1:1", CAFile: `""`}

// TestMemoryHidden: what posthorn holds cannot be read by its own user, for whom
// the kernel would also write a core dump (ptrace(2), access mode checking).
func TestMemoryHidden(t *testing.T) {
	command := []string{"env"}
	if os.Geteuid() == 0 { // who may read everything
		command = []string{"setpriv", "--bounding-set=-all"}
	}
	h := startPosthornBy(t, append(slices.Clone(command), "posthorn"), nobody)
	for _, file := range []string{"environ", "mem", "maps"} {
		cat := append(slices.Clone(command), "head", "-c", "1", fmt.Sprintf("/proc/%d/%s", h.Pid(), file))
		out, err := exec.Command(cat[0], cat[1:]...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Permission denied") {
			t.Errorf("%s can be read: %s, %v", file, out, err)
		}
	}
}

// TestNothingToDebug: neither listener has what Go's debugging handlers would show.
func TestNothingToDebug(t *testing.T) {
	h := startPosthorn(t, nobody)
	for _, url := range []string{h.URL, h.MetricsURL} {
		for _, path := range []string{"/debug", "/debug/", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/debug/requests"} {
			response, err := http.Get(url + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusNotFound {
				t.Errorf("%s%s is %d", url, path, response.StatusCode)
			}
		}
	}
}
