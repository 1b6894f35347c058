package rawsock

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// HiddenResets is the count of segments that MinTTL has dropped in the calling
// thread's network namespace since it was made: TCPMinTTLDrop, readable by
// anyone. Its growth over an attempt tells that a reset, or a peer with an
// ordinary TTL, was hidden from the sockets.
func HiddenResets() (uint64, error) {
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		return 0, fmt.Errorf("count hidden resets: %w", err)
	}
	n, err := counter(text, "TcpExt:", "TCPMinTTLDrop")
	if err != nil {
		return 0, fmt.Errorf("count hidden resets: %w", err)
	}
	return n, nil
}

// counter finds a value in the two-line tables of /proc/net/netstat: a line of
// names and a line of values, each after the table's name.
func counter(text []byte, table, name string) (uint64, error) {
	var names [][]byte
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || string(fields[0]) != table {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i := range min(len(names), len(fields)) {
			if string(names[i]) == name {
				return strconv.ParseUint(string(fields[i]), 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("%w: no %s in /proc/net/netstat", errors.ErrUnsupported, name)
}
