package kubelet

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/exec"
)

// ExecInContainer understands a handful of commands, enough to see that every stream arrives where it should:
//
//	cat               copies standard input to standard output
//	echo WORDS        writes the words
//	whoami            writes namespace/pod/container
//	size              writes COLUMNSxROWS at every change of the terminal's size, until standard input ends
//	sleep SECONDS     waits
//	exit N, false     end with that code, or with 1
//	sh -c "A; B >&2"  does one after another; >&2 sends a command's output to standard error
//
// Anything else copies standard input to standard output.
func (runtime) ExecInContainer(ctx context.Context, pod, _, container string, command []string, in io.Reader, out, stderr io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	s := shell{pod: pod, container: container, in: in, out: orDiscard(out), err: orDiscard(stderr), resize: resize}
	if len(command) >= 3 && (command[0] == "sh" || command[0] == "/bin/sh" || command[0] == "bash") && strings.HasSuffix(command[1], "c") {
		for _, part := range strings.Split(command[2], ";") {
			if err := s.script(ctx, strings.Fields(part)); err != nil {
				return err
			}
		}
		return nil
	}
	return s.run(ctx, command)
}

// AttachContainer greets, then copies standard input to standard output.
func (runtime) AttachContainer(ctx context.Context, pod, _, container string, in io.Reader, out, stderr io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	s := shell{pod: pod, container: container, in: in, out: orDiscard(out), err: orDiscard(stderr), resize: resize}
	if _, err := fmt.Fprintf(s.out, "attached to %s/%s\n", pod, container); err != nil {
		return err
	}
	return s.run(ctx, []string{"cat"})
}

// shell is one command with its streams.
type shell struct {
	pod, container string
	in             io.Reader
	out, err       io.Writer
	resize         <-chan remotecommand.TerminalSize
}

// script runs one part of a sh -c, minding >&2.
func (s shell) script(ctx context.Context, words []string) error {
	if len(words) == 0 {
		return nil
	}
	if words[len(words)-1] == ">&2" {
		s.out, words = s.err, words[:len(words)-1]
	}
	for i := range words {
		words[i] = strings.Trim(words[i], `"'`)
	}
	return s.run(ctx, words)
}

func (s shell) run(ctx context.Context, words []string) error {
	if len(words) == 0 {
		return nil
	}
	argument := strings.Join(words[1:], " ")
	switch words[0] {
	case "echo":
		_, err := fmt.Fprintln(s.out, argument)
		return err
	case "whoami":
		_, err := fmt.Fprintf(s.out, "%s/%s\n", s.pod, s.container)
		return err
	case "true":
		return nil
	case "false":
		return exited(1)
	case "exit":
		code, _ := strconv.Atoi(argument)
		if code == 0 {
			return nil
		}
		return exited(code)
	case "sleep":
		seconds, err := strconv.ParseFloat(argument, 64)
		if err != nil {
			return exited(1)
		}
		select {
		case <-time.After(time.Duration(seconds * float64(time.Second))):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case "size":
		return s.sizes(ctx)
	default:
		return s.cat()
	}
}

func (s shell) cat() error {
	if s.in == nil {
		return nil
	}
	_, err := io.Copy(s.out, s.in)
	return err
}

// sizes reports the terminal's sizes until standard input ends.
func (s shell) sizes(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		if s.in != nil {
			_, _ = io.Copy(io.Discard, s.in)
		}
		close(ended)
	}()
	for {
		select {
		case size, ok := <-s.resize:
			if !ok {
				return nil
			}
			if _, err := fmt.Fprintf(s.out, "%dx%d\n", size.Width, size.Height); err != nil {
				return err
			}
		case <-ended:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// exited is the end of a command with a code other than 0.
func exited(code int) error {
	return exec.CodeExitError{Err: fmt.Errorf("exit status %d", code), Code: code}
}

func orDiscard(w io.WriteCloser) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
