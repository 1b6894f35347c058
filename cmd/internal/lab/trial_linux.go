package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tcppunch/captures"
)

// overtime is how long a client may take beyond the meeting's own limit: to
// reach the coordinator, to wait for the other, to write its files.
const overtime = 45 * time.Second

// peerPatience is how long a client waits for the other, which starts at the
// same time: a side that cannot be carried out must not hold up the other.
const peerPatience = 10 * time.Second

// defaultTimeout is what a client's meeting takes at most when the command
// line does not say.
const defaultTimeout = 30 * time.Second

// guard is how late the core may forward a packet between the two sides before
// the trial says more about this machine than about the meeting. Where both
// sides answer early SYNs with resets it is a quarter of the delay, since a reset
// wins or loses by the delay; elsewhere the delay, because a late packet then only
// arrives later. It is never below what an idle machine does.
func guard(c Config) time.Duration {
	limit := c.Delay
	if timed(c.A, c.B) {
		limit /= 4
	}
	return max(limit, 500*time.Microsecond)
}

// trial is one meeting under way.
type trial struct {
	*cell
	dir    string
	number int // in its cell, from 1
	nodes  nodes
	shown  *captures.Handshake // what both clients captured of each other; nil: no SYN
}

// name is what a side calls itself. It is another one in each trial of a cell,
// with a key of its own, so that both sides get either role.
func (t *trial) name(side string) string {
	if t.number == 1 {
		return side
	}
	return fmt.Sprintf("%s%d", side, t.number)
}

// meetArguments is the command line of one client.
func (t *trial) meetArguments(side, peer string, profile Profile, skew time.Duration) []string {
	c := t.config
	args := []string{"meet", "--as", t.name(side), "--peer", t.name(peer), "--coordinator", t.coordinatorFor(profile), "--at", "+500ms", "--wait", peerPatience.String(),
		"--clock-error", skew.String(), "--json", "--state", t.file(side)}
	args = append(args, c.transportArguments(t.file(side+".pcapng"))...)
	if c.NoSync {
		args = append(args, "--no-sync")
	}
	if c.Retries >= 0 && !c.overUDP() {
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
	if c.LowTTL > 0 {
		args = append(args, "--low-ttl", fmt.Sprint(c.LowTTL))
	}
	if side == "a" && c.ResidualA != 0 {
		args = append(args, "--residual-error", c.ResidualA.String())
	}
	if side == "b" && c.LateB != 0 {
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
	if err := t.addTruth(&result); err != nil {
		return result, err
	}
	return result, t.tell(result)
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
	truth := truth{sightings: t.watch.sightings(), outside: true, edges: edgesOf(t.network.Scenario)}
	if len(truth.sightings) == 0 && !t.config.overUDP() {
		truth = truth.withClients(t)
	}
	r.Mappings = t.network.Mappings()
	truth.mappings = r.Mappings
	r.Skew = truth.skew()
	for _, box := range t.network.Scenario.Boxes() {
		n, err := t.network.Unsolicited(box.Name)
		if err != nil {
			return err
		}
		packets := int64(n)
		if sideOf(box.Name) == "a" {
			r.UnsolicitedA = &packets // of a chain the outermost, which is the last
		} else {
			r.UnsolicitedB = &packets
		}
	}
	if t.network.core != nil {
		r.CoreLateness = new(int64(truth.lateness()))
	}
	if reason := t.spoilt(truth); reason != "" {
		r.InvalidReason = &reason
	}
	r.Valid = r.InvalidReason == nil
	// Where the kernel could not tell all that its NATs did, nobody knows why.
	if why, ok := truth.cause(t.config); ok && !r.Established && len(t.network.unheard()) == 0 {
		r.TrueCause, r.TrueCauseOf = &why.word, &why.side
	}
	return t.compareVerdicts(r, truth)
}

// spoilt is why a trial says more about this machine than about the meeting; ""
// if it does not.
func (t *trial) spoilt(truth truth) string {
	if late, limit := truth.lateness(), guard(t.config); t.network.core != nil && late > limit {
		return fmt.Sprintf("the core was %v late, more than its guard of %v", late, limit)
	}
	return ""
}

// compareVerdicts lets the clients' captures speak alone, and beside that what
// passed between the sites.
func (t *trial) compareVerdicts(r *Trial, truth truth) error {
	if t.config.overUDP() {
		return nil
	}
	var err error
	if t.shown, err = t.exchange(); err != nil || t.shown == nil {
		return err
	}
	r.CapturedVerdict = new(t.shown.Verdict.String())
	if truth.outside && len(truth.sightings) > 0 && len(t.network.unheard()) == 0 {
		a, b := t.views()
		r.TrueVerdict = new(truth.verdict(truth.endsOf(a, b, t.boxNames())).String())
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

// tell keeps what the lab knows of the trial beside what the clients said.
func (t *trial) tell(r Trial) error {
	if t.config.Keep == "" {
		return nil
	}
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("keep what the lab saw: %w", err)
	}
	if err := os.WriteFile(t.file("trial.json"), body, 0o644); err != nil {
		return fmt.Errorf("keep what the lab saw: %w", err)
	}
	return nil
}

func (t *trial) close() { t.nodes.kill() }

// explanationOf is what the clients said of a failed meeting.
func explanationOf(r Trial) string {
	var parts []string
	for i, text := range []json.RawMessage{r.MeetA, r.MeetB} {
		var said struct {
			Explanation string     `json:"explanation"`
			Error       *meetError `json:"error"`
		}
		if json.Unmarshal(text, &said) != nil {
			continue
		}
		if said.Error != nil {
			said.Explanation = said.Error.Message
		}
		parts = append(parts, fmt.Sprintf("%c: %s", 'a'+i, said.Explanation))
	}
	return strings.Join(parts, "; ")
}
