package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Addresses of the servers' sockets, as the nodes' command lines have them.
const (
	coordinatorPort = ":7770"
	stunPort        = ":3478"
	stunAlternate   = ":3479"
	timePort        = ":123"
)

// overtime is how long a client may take beyond the meeting's own limit: to
// reach the coordinator, to wait for the other, to write its files.
const overtime = 45 * time.Second

// defaultTimeout is what a client's meeting takes at most when the command
// line does not say.
const defaultTimeout = 30 * time.Second

// guard is how late the core may forward a packet between the two sides before
// the trial says more about this machine than about the meeting: a quarter of
// the delay, since a reset wins or loses by the delay, and never below what an
// idle machine does.
func guard(l Link) time.Duration { return max(l.Delay/4, 500*time.Microsecond) }

// trial is one meeting under way.
type trial struct {
	config  Config
	dir     string
	network *Network
	watch   *watcher
	nodes   nodes

	coordinator string // as the clients are told it
}

func linkOf(c Config) Link { return Link{Delay: c.Delay, Jitter: c.Jitter, Loss: c.Loss} }

// newTrial builds the network and starts its servers.
func newTrial(ctx context.Context, c Config, dir string) (*trial, error) {
	s := PlanNetwork(c.A, c.B, linkOf(c))
	t := &trial{config: c, dir: dir, watch: &watcher{edges: edgesOf(s), byID: map[uint64]int{}}}
	var err error
	if t.network, err = Build(s, t.watch.observe); err != nil {
		return nil, closedOr(err)
	}
	if err := t.startServers(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *trial) startServers(ctx context.Context) error {
	clock, _, err := t.network.serve(ctx, "time", "lab", "time-server", "--listen", timePort)
	if err != nil {
		return err
	}
	t.nodes.add(clock)
	state := filepath.Join(t.dir, "coordinator")
	server, ready, err := t.network.serve(ctx, "coordinator", "coordinator",
		"--listen", coordinatorPort, "--stun", stunPort, "--stun-alternate", coordinatorAlt4.String()+stunAlternate,
		"--advertise", coordinator4.String(), "--advertise", coordinator6.String(),
		"--ntp", timeServer4.String(), "--ntp", "["+timeServer6.String()+"]", "--state", state)
	if err != nil {
		return err
	}
	t.nodes.add(server)
	t.coordinator = ready
	return nil
}

// coordinatorFor is the coordinator's address by the family that the two sides
// share, or else by the one that this side has.
func (t *trial) coordinatorFor(side Profile) string {
	v6 := useIPv6(t.config.A, t.config.B) || !side.IPv4
	id, hostport, ok := strings.Cut(t.coordinator, "@")
	if !ok {
		return t.coordinator
	}
	address, port := coordinator4, coordinatorPort
	if i := strings.LastIndex(hostport, ":"); i >= 0 {
		port = hostport[i:]
	}
	if v6 {
		address = coordinator6
	}
	return id + "@" + bracketed(address) + port
}

func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// meetArguments is the command line of one client.
func (t *trial) meetArguments(name, peer string, side Profile, skew time.Duration) []string {
	c := t.config
	args := []string{"meet", "--as", name, "--peer", peer, "--coordinator", t.coordinatorFor(side), "--at", "+500ms",
		"--clock-error", skew.String(), "--capture", t.file(name + ".pcapng"), "--json", "--state", t.file(name)}
	if c.NoSync {
		args = append(args, "--no-sync")
	}
	if c.Retries >= 0 {
		args = append(args, "--retries", fmt.Sprint(c.Retries))
	}
	if c.Budget > 0 {
		args = append(args, "--budget", fmt.Sprint(c.Budget))
	}
	if c.Timeout > 0 {
		args = append(args, "--timeout", c.Timeout.String())
	}
	if c.Strategy != "" {
		args = append(args, "--strategy", c.Strategy)
	}
	if name == "a" && c.ResidualA != 0 {
		args = append(args, "--residual-error", c.ResidualA.String())
	}
	if name == "b" && c.LateB != 0 {
		args = append(args, "--late", c.LateB.String())
	}
	return args
}

func (t *trial) file(name string) string { return filepath.Join(t.dir, name) }

// meet runs both clients and reads what they say.
func (t *trial) meet(ctx context.Context) (Trial, error) {
	started := time.Now()
	for range t.config.Busy {
		p, err := t.network.start("a", "lab", "bench", "busy")
		if err != nil {
			return Trial{}, err
		}
		t.nodes.add(p)
	}
	a, err := t.network.start("a", t.meetArguments("a", "b", t.config.A, t.config.SkewA)...)
	if err != nil {
		return Trial{}, err
	}
	t.nodes.add(a)
	b, err := t.network.start("b", t.meetArguments("b", "a", t.config.B, t.config.SkewB)...)
	if err != nil {
		return Trial{}, err
	}
	t.nodes.add(b)
	if err := awaitAll(ctx, t.limit(), a, b); err != nil {
		return Trial{}, err
	}
	t.save(a, b)
	result, err := readTrial(a, b)
	if err != nil {
		return Trial{}, err
	}
	result.Duration = int64(time.Since(started))
	return result, t.addTruth(&result)
}

func (t *trial) limit() time.Duration {
	if t.config.Timeout > 0 {
		return t.config.Timeout + t.config.LateB + overtime
	}
	return defaultTimeout + t.config.LateB + overtime
}

// awaitAll waits for programs to end. What does not end in time is killed and
// said to have hung; when one crashes, the others have nobody to wait for.
func awaitAll(ctx context.Context, within time.Duration, list ...*process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errHung)
	defer cancel()
	ended := make(chan *process)
	for _, p := range list {
		go func() {
			<-p.done // the trial's end kills all of its processes
			select {
			case ended <- p:
			case <-ctx.Done():
			}
		}()
	}
	for range list {
		select {
		case p := <-ended:
			if !slices.Contains(meetStatuses, p.status()) {
				return p.crash(fmt.Sprintf("ended with %v", p.cmd.ProcessState))
			}
		case <-ctx.Done():
			return hungOr(ctx, within, list)
		}
	}
	return nil
}

// hungOr is why waiting ended: a program that does not end, or the caller.
func hungOr(ctx context.Context, within time.Duration, list []*process) error {
	if context.Cause(ctx) != errHung {
		return ctx.Err()
	}
	for _, p := range list {
		select {
		case <-p.done:
		default:
			p.kill()
			return p.crash(fmt.Sprintf("did not end within %v", within))
		}
	}
	return errHung
}

// statuses that a meeting may end with, a failure to carry it out among them,
// which a lossy network can cause; with any other, such as a wrong command
// line, the node did not do its work.
var meetStatuses = []int{0, 1, 2, 3, 4, 5, 6, 7}

func readTrial(a, b *process) (Trial, error) {
	docA, err := readMeet(a)
	if err != nil {
		return Trial{}, err
	}
	docB, err := readMeet(b)
	if err != nil {
		return Trial{}, err
	}
	r := mergeMeets(docA, docB)
	r.MeetA, r.MeetB = slices.Clone(a.stdout.Bytes()), slices.Clone(b.stdout.Bytes())
	return r, nil
}

func readMeet(p *process) (doc meetDocument, err error) {
	if err := json.Unmarshal(p.stdout.Bytes(), &doc); err != nil {
		return doc, p.crash(fmt.Sprintf("printed no JSON document (%v)", err))
	}
	return doc, nil
}

// addTruth adds what the lab saw to what the clients said.
func (t *trial) addTruth(r *Trial) error {
	truth := truth{sightings: t.watch.sightings(), outside: true}
	if len(truth.sightings) == 0 {
		truth = truth.withClients(t)
	}
	r.Mappings = t.network.Mappings()
	r.Skew = truth.skew()
	for _, box := range t.network.Scenario.Boxes() {
		n, err := t.network.Unsolicited(box.Name)
		if err != nil {
			return err
		}
		packets := int64(n)
		if box.Name == "nat-a" {
			r.UnsolicitedA = &packets
		} else {
			r.UnsolicitedB = &packets
		}
	}
	r.Valid = true
	if t.network.core != nil {
		late := int64(truth.lateness())
		r.CoreLateness = &late
		if limit := guard(t.network.Scenario.Link); late > int64(limit) {
			reason := fmt.Sprintf("the core was %v late, more than its guard of %v", time.Duration(late), limit)
			r.Valid, r.InvalidReason = false, &reason
		}
	}
	if !r.Established {
		r.TrueCause = truth.cause(t.config)
	}
	return nil
}

// save keeps what the clients printed beside their captures.
func (t *trial) save(list ...*process) {
	if t.config.Keep == "" {
		return
	}
	for i, p := range list {
		name := string(rune('a' + i))
		os.WriteFile(t.file(name+".json"), p.stdout.Bytes(), 0o644)
		os.WriteFile(t.file(name+".log"), p.stderr.Bytes(), 0o644)
	}
}

func (t *trial) close() error {
	t.nodes.kill()
	return t.network.Close()
}
