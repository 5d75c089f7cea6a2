package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// curl is the README's command line.
func curl(address string) []string {
	return []string{"curl", "http://" + address + "/msg/user", "-u", sender + ":" + password,
		"-H", "Content-Type: text/plain", "-d", text}
}

// run runs the command and gives what it printed. curl is told, beyond what the
// README says, to show no progress, to show the status, and to keep from
// proxies and from the user's own .curlrc, which must stand first.
func run(ctx context.Context, command []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, curlTimeout)
	defer cancel()
	args := append([]string{"--disable", "--silent", "--show-error", "--noproxy", "*",
		"--write-out", "\n%{http_code}"}, command[1:]...)
	cmd := exec.CommandContext(ctx, command[0], args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("curl: %w\n%s", err, stderr.String())
	}
	answer, status := lastLine(string(out))
	if status != "201" {
		return "", fmt.Errorf("curl: status %s: %s", status, answer)
	}
	return "HTTP " + status + " " + answer, nil
}

// lastLine parts the status that curl wrote at the end from the answer.
func lastLine(out string) (answer, last string) {
	i := strings.LastIndexByte(out, '\n')
	return strings.TrimSpace(out[:max(i, 0)]), out[i+1:]
}

// plain is a word that a shell takes as it stands.
var plain = regexp.MustCompile(`^[A-Za-z0-9@:/._-]+$`)

// shell prints the command so that it can be pasted; in single quotes, since in
// double ones an interactive bash takes the exclamation mark for history.
func shell(command []string) string {
	words := make([]string, len(command))
	for i, word := range command {
		words[i] = word
		if !plain.MatchString(word) {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
