package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tcppunch/rawsock/netlab"
)

// sameHostTakes is how long one meeting may take.
const sameHostTakes = 60 * time.Second

// BenchSameHost lets two peers on one host meet over the loopback, of whom
// neither listens, each time in two new processes. It must be called in the
// supervisor. progress, if not nil, is told what is about to be measured.
func BenchSameHost(ctx context.Context, c SameHostConfig, progress func(string)) (d SameHostDocument, err error) {
	d = SameHostDocument{Benchmark: "same-host", SameHostConfig: c, Machine: thisMachine()}
	host, err := netlab.New("host")
	if err != nil {
		return d, fmt.Errorf("build the benchmark's network: %w", err)
	}
	n := &Network{namespaces: map[string]*netlab.Namespace{"host": host}}
	defer func() { err = errors.Join(err, n.closeBench()) }()
	dir, err := os.MkdirTemp("", "tcppunch-bench-")
	if err != nil {
		return d, err
	}
	defer os.RemoveAll(dir)
	server, address, err := n.serve(ctx, "host", "coordinator", "--listen", "127.0.0.1"+coordinatorPort, "--stun", "127.0.0.1"+stunPort,
		"--advertise", "127.0.0.1", "--state", filepath.Join(dir, "coordinator"))
	if err != nil {
		return d, err
	}
	defer server.kill()
	t := &sameHostTally{causes: map[string]int{}}
	for i := range c.Meetings {
		if progress != nil {
			progress(fmt.Sprintf("meeting %d of %d", i+1, c.Meetings))
		}
		if err := n.sameHostMeeting(ctx, dir, address, t); err != nil {
			return d, err
		}
	}
	t.conclude(&d)
	d.Machine.LoadAfter = load()
	return d, nil
}

func (n *Network) sameHostMeeting(ctx context.Context, dir, coordinator string, t *sameHostTally) error {
	var all nodes
	defer all.kill()
	var peers [2]*process
	for i, name := range []string{"a", "b"} {
		p, err := n.start("host", "meet", "--as", name, "--peer", string("ba"[i]), "--coordinator", coordinator, "--at", "+50ms",
			"--timeout", "10s", "--json", "--state", filepath.Join(dir, name))
		if err != nil {
			return err
		}
		all.add(p)
		peers[i] = p
	}
	if err := awaitAll(ctx, sameHostTakes, peers[0], peers[1]); err != nil {
		return err
	}
	a, err := readMeet(peers[0])
	if err != nil {
		return err
	}
	b, err := readMeet(peers[1])
	if err != nil {
		return err
	}
	t.add(a, b)
	return nil
}
