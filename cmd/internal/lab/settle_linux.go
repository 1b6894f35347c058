package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// settled waits until a node has no TCP connection any more, and says whether
// it came to that in time.
func (n *Network) settled(ctx context.Context, node string, within time.Duration) (bool, error) {
	soon, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		connections, err := n.connections(node)
		if err != nil {
			return false, fmt.Errorf("look for connections of %s: %w", node, err)
		}
		if connections == 0 {
			return true, nil
		}
		select {
		case <-soon.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}

// connections counts a node's TCP sockets that do not listen, those among them
// that no process has any more.
func (n *Network) connections(node string) (count int, err error) {
	err = n.namespaces[node].Do(func() error {
		for _, table := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
			more, err := countConnections(table)
			if err != nil {
				return err
			}
			count += more
		}
		return nil
	})
	return count, err
}

// countConnections reads a table of sockets, of which the fourth column is the
// state (proc_pid_net(5)).
func countConnections(table string) (count int, err error) {
	f, err := os.Open(table)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	const listens = "0A"
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if columns := strings.Fields(lines.Text()); len(columns) > 3 && columns[0] != "sl" && columns[3] != listens {
			count++
		}
	}
	return count, lines.Err()
}
