package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one component, run as a child: the same binary under the component's name.
//
// A process can be stopped and started again with the arguments it had.
type process struct {
	name string
	path string
	args []string
	log  string

	mu      sync.Mutex
	command *exec.Cmd
	exited  chan struct{}
	// wanted is false while the process is stopped on purpose, so that its end is no accident.
	wanted bool
	// accidents receives the process when it ends without having been stopped.
	accidents chan<- *process
}

// start runs the component, appending its output to its log file.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command != nil {
		return fmt.Errorf("%s is already running", p.name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(p.path, p.args...)
	command.Stdout = log
	command.Stderr = log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := spawn(command); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	exited := make(chan struct{})
	p.command, p.exited, p.wanted = command, exited, true
	go p.reap(command, exited)
	return nil
}

func (p *process) reap(command *exec.Cmd, exited chan struct{}) {
	_ = command.Wait() // How it ended is in its log.
	p.mu.Lock()
	accident := p.wanted
	p.command = nil
	p.mu.Unlock()
	close(exited)
	if accident {
		p.accidents <- p
	}
}

// stop sends the signal and waits for the end; what has not ended after ten seconds is killed.
func (p *process) stop(signal syscall.Signal) {
	p.mu.Lock()
	command, exited := p.command, p.exited
	p.wanted = false
	p.mu.Unlock()
	if command == nil {
		return
	}
	_ = command.Process.Signal(signal)
	// A frozen process takes no signal but SIGKILL before it is thawed.
	_ = command.Process.Signal(syscall.SIGCONT)
	select {
	case <-exited:
	case <-time.After(10 * time.Second):
		_ = command.Process.Kill()
		<-exited
	}
}

// signal passes a signal on, for freezing (SIGSTOP) and thawing (SIGCONT).
func (p *process) signal(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command == nil {
		return fmt.Errorf("%s is not running", p.name)
	}
	return p.command.Process.Signal(signal)
}

// running says whether the child exists.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.command != nil
}

// lastWords returns the end of the log, for the message about a component that did not come up.
func (p *process) lastWords() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > 12 {
		lines = lines[len(lines)-12:]
	}
	return strings.Join(lines, "\n")
}

// lostPort says whether the component ended because somebody else listens where it was told to.
func (p *process) lostPort() bool {
	return !p.running() && strings.Contains(p.lastWords(), "address already in use")
}

var (
	spawnOnce sync.Once
	spawns    = make(chan func())
)

// spawn starts the command from one thread that lives as long as this process.
//
// The kernel delivers Pdeathsig when the *thread* that forked ends, not the process, so a goroutine whose thread the
// runtime gives up would take the API server with it.
func spawn(command *exec.Cmd) error {
	spawnOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for run := range spawns {
				run()
			}
		}()
	})
	result := make(chan error, 1)
	spawns <- func() { result <- command.Start() }
	return <-result
}
