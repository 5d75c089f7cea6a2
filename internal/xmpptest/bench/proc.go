package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc, on every Linux that Go runs on
// (proc_pid_stat(5), USER_HZ).
const clockTick = 10 * time.Millisecond

// processorTime is what a process has used so far, in user and kernel mode.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name, which may have spaces.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat reads %q", pid, text)
	}
	var ticks int
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// processorTimes are those of several processes.
func processorTimes(pids ...int) (all []time.Duration, err error) {
	for _, pid := range pids {
		t, err := processorTime(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// memory is a process's resident memory, now (VmRSS) or at its peak (VmHWM), in
// MiB (proc_pid_status(5)).
func memory(pid int, key string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == key+":" {
			kilobytes, err := strconv.ParseFloat(fields[1], 64)
			return kilobytes / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, key)
}

// metric reads one value of posthorn's own metrics.
func metric(address, name string) (float64, error) {
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}

// A use is what the machine's processors have done so far.
type use struct {
	all  time.Duration // for any program (proc_stat(5): user, nice, system)
	ours time.Duration // for this one and for the children that have ended
	at   time.Time
}

func processorUse() (u use, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, err
	}
	var user, nice, system int
	if _, err := fmt.Sscanf(string(text), "cpu %d %d %d", &user, &nice, &system); err != nil {
		return u, fmt.Errorf("/proc/stat: %w", err)
	}
	u.all = time.Duration(user+nice+system) * clockTick
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if err := syscall.Getrusage(who, &r); err != nil {
			return u, err
		}
		u.ours += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	u.at = time.Now()
	return u, nil
}

// others is the share of the processors that other programs took since before:
// the one thing that makes these numbers worse and is not in them.
func (u use) others(before use) float64 {
	took := (u.all - before.all) - (u.ours - before.ours)
	return max(0, took.Seconds()/(u.at.Sub(before.at).Seconds()*float64(runtime.NumCPU())))
}
