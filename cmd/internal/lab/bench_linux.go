package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab"
	"tcppunch/timing"
)

// The network of a benchmark: two hosts and a cable. What is sent to the sink
// ends at the second host, which does not forward and says nothing about it.
var (
	benchA    = netip.MustParsePrefix("198.51.100.1/24")
	benchB    = netip.MustParsePrefix("198.51.100.2/24")
	benchSink = netip.MustParseAddrPort("203.0.113.1:7000")
)

// benchSettles is how long nodes and busy processes have until the first launch.
const benchSettles = 500 * time.Millisecond

func buildBench() (*Network, error) {
	n := &Network{namespaces: map[string]*netlab.Namespace{}}
	for _, name := range []string{"a", "b"} {
		ns, err := netlab.New(name)
		if err != nil {
			return nil, errors.Join(err, n.closeBench())
		}
		n.namespaces[name] = ns
	}
	a, b := n.namespaces["a"], n.namespaces["b"]
	err := netlab.Veth(a, "eth0", b, "eth0")
	if err == nil {
		err = errors.Join(a.AddAddress("eth0", benchA), b.AddAddress("eth0", benchB),
			a.AddRoute(netip.PrefixFrom(benchSink.Addr(), 32), benchB.Addr(), "eth0"))
	}
	if err != nil {
		return nil, errors.Join(err, n.closeBench())
	}
	return n, nil
}

func (n *Network) closeBench() error {
	var errs []error
	for _, ns := range n.namespaces {
		errs = append(errs, ns.Close())
	}
	return errors.Join(errs...)
}

// BenchLaunch measures how late first SYNs leave, and how far apart those of
// two launchers are, idle and beside busy processes. It must be called in the
// supervisor. progress, if not nil, is told what is about to be measured.
func BenchLaunch(ctx context.Context, c BenchConfig, progress func(string)) (d BenchDocument, err error) {
	d = BenchDocument{Benchmark: "launch", Launches: c.Launches, Spacing: int64(c.Spacing), Machine: thisMachine()}
	n, err := buildBench()
	if err != nil {
		return d, fmt.Errorf("build the benchmark's network: %w", err)
	}
	defer func() { err = errors.Join(err, n.closeBench()) }()
	loads := []int{0}
	if c.Busy > 0 {
		loads = append(loads, c.Busy)
	}
	tallies := map[int]*benchTally{0: newBenchTally(), c.Busy: newBenchTally()}
	rounds := c.rounds()
	for i, launches := range rounds {
		for _, busy := range loads {
			if progress != nil {
				progress(fmt.Sprintf("round %d of %d, %d busy processes", i+1, len(rounds), busy))
			}
			if err := n.benchRound(ctx, c, launches, busy, tallies[busy]); err != nil {
				return d, err
			}
		}
	}
	for _, busy := range loads {
		d.Conditions = append(d.Conditions, tallies[busy].condition(busy))
	}
	d.Machine.LoadAfter = load()
	return d, nil
}

// benchRound has both nodes launch at the same instants beside busy processes.
func (n *Network) benchRound(ctx context.Context, c BenchConfig, launches, busy int, t *benchTally) error {
	var all nodes
	defer all.kill()
	for range busy {
		p, err := n.start("a", "lab", "bench", "busy")
		if err != nil {
			return err
		}
		all.add(p)
	}
	launches *= len(BenchVariants)
	begin := timing.Now().Add(benchSettles)
	a, err := n.benchNode(&all, "a", benchA.Addr(), benchB.Addr(), begin, c.Spacing, launches)
	if err != nil {
		return err
	}
	b, err := n.benchNode(&all, "b", benchB.Addr(), benchA.Addr(), begin, c.Spacing, launches)
	if err != nil {
		return err
	}
	limit := time.Duration(launches)*c.Spacing + 30*time.Second
	var shots [2][]BenchShot
	for i, p := range []*process{a, b} {
		if err := p.answer(ctx, limit, &shots[i]); err != nil {
			return err
		}
	}
	return t.add(shots[0], shots[1])
}

func (n *Network) benchNode(all *nodes, node string, local, remote netip.Addr, begin timing.Instant, spacing time.Duration, launches int) (*process, error) {
	p, err := n.start(node, "lab", "bench", "launch-node", "--local", local.String(), "--remote", remote.String(),
		"--begin", strconv.FormatInt(int64(begin), 10), "--spacing", spacing.String(), "--launches", strconv.Itoa(launches))
	if err == nil {
		all.add(p)
	}
	return p, err
}

// answer waits for a program to end well and reads the JSON that it printed.
func (p *process) answer(ctx context.Context, limit time.Duration, into any) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return p.crash(fmt.Sprintf("did not end within %v", limit))
	}
	if p.status() != 0 {
		return p.crash(fmt.Sprintf("ended with status %d", p.status()))
	}
	if err := json.Unmarshal(p.stdout.Bytes(), into); err != nil {
		return p.crash("printed what is no answer: " + err.Error())
	}
	return nil
}

// BenchBurst measures how long a burst of SYNs takes. It must be called in the
// supervisor.
func BenchBurst(ctx context.Context, c BurstConfig) (d BurstDocument, err error) {
	d = BurstDocument{Benchmark: "burst", BurstConfig: c, Machine: thisMachine()}
	n, err := buildBench()
	if err != nil {
		return d, fmt.Errorf("build the benchmark's network: %w", err)
	}
	defer func() { err = errors.Join(err, n.closeBench()) }()
	var all nodes
	defer all.kill()
	p, err := n.start("a", "lab", "bench", "burst-node", "--local", benchA.Addr().String(), "--remote", benchSink.String(),
		"--syns", strconv.Itoa(c.SYNs), "--rounds", strconv.Itoa(c.Rounds))
	if err != nil {
		return d, err
	}
	all.add(p)
	if err := p.answer(ctx, time.Minute+time.Duration(c.Rounds)*time.Second, &d.BurstTimes); err != nil {
		return d, err
	}
	d.conclude()
	d.Machine.LoadAfter = load()
	return d, nil
}

func thisMachine() BenchMachine {
	m := BenchMachine{Kernel: "unknown", LoadBefore: load()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var allowed unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) == nil {
		m.Processors = allowed.Count()
	}
	return m
}

// load are the first three values of /proc/loadavg (proc(5)).
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(text)); err == nil && len(fields) >= 3 {
		return strings.Join(fields[:3], " ")
	}
	return "unknown"
}
