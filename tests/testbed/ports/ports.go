// Package ports hands out TCP ports of the loopback address to programs that must be told a number before they listen.
//
// Asking the kernel for a free port and closing it again is a race: any outgoing connection of the machine may be given
// the same number in the meantime, and so may a second test bed. Both are avoided here. Ports are drawn from below the
// ephemeral range, where the kernel hands out none by itself, and each is held by a lock file as long as this process
// lives, so that it also stays ours while the API server is stopped.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lowest is the first port handed out; below it well-known services of a developer's machine live.
const lowest = 15000

// attempts bounds the search; on any sane machine the first or second draw is free.
const attempts = 1000

// Reservation is a port that no other test bed of this machine will choose.
type Reservation struct {
	Port int
	lock *os.File
}

// Reserve finds a port that is free and keeps it from other test beds.
func Reserve() (*Reservation, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("testbed-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	highest := ephemeralStart()
	for range attempts {
		port := lowest + rand.IntN(highest-lowest)
		lock, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, err
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil && free(port) {
			return &Reservation{Port: port, lock: lock}, nil
		}
		lock.Close()
	}
	return nil, fmt.Errorf("no free port between %d and %d", lowest, highest)
}

// Release gives the port back. The lock file stays: removing it would let two processes lock two files of one name.
func (r *Reservation) Release() {
	r.lock.Close()
}

func free(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}

// ephemeralStart reads where the kernel's own choice of ports begins.
func ephemeralStart() int {
	const usual = 32768
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usual
	}
	first, err := strconv.Atoi(strings.Fields(string(text) + " 0")[0])
	if err != nil || first <= lowest+1000 {
		return usual
	}
	return first
}
