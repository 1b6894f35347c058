package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/punch"
	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

func meetCommand() *cli.Command {
	return &cli.Command{
		Name:  "meet",
		Usage: "open a connection to a peer that runs the same command",
		Description: "Through a coordinator:\n" +
			"   tcppunch meet --as a --peer b --at +5s --coordinator KEY@HOST:PORT\n" +
			"By appointment, without one (both sides hold the same secret, see 'tcppunch secret'):\n" +
			"   tcppunch meet --peer HOST:PORT --at 2030-01-02T15:04:05Z --local-port 4000 --secret-file F --ntp TIMESERVER\n" +
			"The report goes to stdout; with --pipe stdout belongs to the peer and the report goes to stderr.",
		Flags:  meetFlags(),
		Action: runMeet,
	}
}

func meetFlags() []cli.Flag {
	return append(clockFlags(),
		&cli.StringFlag{Name: "peer", Required: true, Usage: "whom to meet: `NAME[@KEY]`, or HOST:PORT without a coordinator"},
		&cli.StringFlag{Name: "at", Value: "+1s", Usage: "`WHEN`: +5s from the moment both are there, an RFC 3339 time, or Unix seconds"},
		&cli.StringFlag{Name: "as", Usage: "this peer's `NAME` at the coordinator (default: the host's name)"},
		&cli.StringFlag{Name: "coordinator", Usage: "`KEY@HOST:PORT` as the coordinator printed it"},
		&cli.UintFlag{Name: "local-port", Usage: "`PORT` to connect from (default: the system chooses)"},
		&cli.StringFlag{Name: "secret-file", Usage: "`FILE` with the secret that both sides share, for a meeting without a coordinator"},
		&cli.StringFlag{Name: "strategy", Value: "auto", Usage: "`STRATEGY`: auto, simopen, low-ttl, listen, reverse, crafted or fake-syn; auto goes on with SYNs that die between the NATs where simopen is refused"},
		&cli.IntFlag{Name: "budget", Value: 100, Usage: "at most `N` SYNs may leave, retransmissions included; the smaller of both sides' counts"},
		&cli.IntFlag{Name: "retries", Value: 1000, Usage: "connect again after at most `N` resets, within the budget; 0 is one connect() and nothing more"},
		&cli.DurationFlag{Name: "wait", Value: time.Minute, Usage: "how long the peer may take to come"},
		&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Usage: "how long to try after the instant"},
		&cli.IntFlag{Name: "samples", Value: 8, Usage: "exchanges with each time server"},
		&cli.StringFlag{Name: "transport", Value: "tcp", Usage: "for experiments: `tcp|udp`; udp meets with datagrams instead, proves both keys, and leaves no connection"},
		&cli.IntFlag{Name: "low-ttl", Usage: "for experiments: the `TTL` of SYNs that are to die between the NATs; 0 is what the routers tell, or else 2"},
		&cli.BoolFlag{Name: "no-sync", Usage: "for experiments: trust this machine's clock as it is"},
		&cli.DurationFlag{Name: "late", Usage: "for experiments: launch `D` after the instant"},
		&cli.DurationFlag{Name: "residual-error", Usage: "for experiments: compare the clocks wrongly by `D`, and say so in the bound"},
		&cli.DurationFlag{Name: "disturb-step", Usage: "for experiments: the wall clock is set `D` forward before the launch"},
		&cli.DurationFlag{Name: "disturb-suspend", Usage: "for experiments: the machine is suspended for `D` before the launch"},
		&cli.StringFlag{Name: "capture", Usage: "write the exchange's packets to `FILE.pcapng`"},
		&cli.StringFlag{Name: "report", Usage: "write the explained meeting to `FILE.html`"},
		&cli.BoolFlag{Name: "pipe", Usage: "connect stdin and stdout to the peer"},
		&cli.StringFlag{Name: "json-file", Usage: "write the JSON report to `FILE`"},
		&cli.BoolFlag{Name: "json-stream", Usage: "print each step as a JSON line, and the report as the last one"},
		stateFlag(),
		jsonFlag(),
	)
}

func init() { classifiers = append(classifiers, classifyMeeting) }

// classifyMeeting gives the errors of a meeting their statuses.
func classifyMeeting(err error) *failure {
	var refusal *rendezvous.Error
	if errors.As(err, &refusal) {
		return coordinatorFailure(refusal)
	}
	if f := classifyCraft(err); f != nil {
		return f
	}
	return classifySocket(err)
}

func coordinatorFailure(e *rendezvous.Error) *failure {
	f := &failure{Status: statusRefused, Kind: string(e.Kind), Message: e.Message}
	switch e.Kind {
	case rendezvous.KindUnreachable:
		f.Status, f.Hint = statusUnreachable, "check that the coordinator runs and that its port is open"
	case rendezvous.KindLost:
		f.Status, f.Kind = statusUnreachable, string(punch.CoordinatorLost)
	case rendezvous.KindWrongKey:
		f.Status, f.Kind, f.Hint = statusAuthFailed, string(punch.AuthFailed), "copy the string that the coordinator prints when it starts; if its key changed, ask its operator why"
	case rendezvous.KindNameTaken:
		f.Hint = "choose another name with --as"
	case rendezvous.KindBadRequest, rendezvous.KindBusy:
		f.Status = statusFailed
	}
	return f
}

// invitation is how to carry out one meeting, and what to do with its outcome.
type invitation struct {
	c        *cli.Context
	streams  streams
	config   punch.Config
	stateDir string
	known    knownPeers
	piped    chan error // delivers once when the pipe has ended; nil without --pipe
}

func runMeet(c *cli.Context) error {
	inv := &invitation{c: c, streams: streamsOf(c)}
	if err := inv.configure(); err != nil {
		return err
	}
	var outcome punch.Result
	var err error
	if c.String("coordinator") == "" {
		outcome, err = inv.direct()
	} else {
		outcome, err = inv.byName()
	}
	if err != nil {
		return err
	}
	return inv.finish(outcome)
}

// configure reads what both kinds of meeting share.
func (inv *invitation) configure() error {
	c := inv.c
	clock, err := clockOf(c)
	if err != nil {
		return err
	}
	for _, n := range c.StringSlice("ntp") {
		if err := timing.CheckServer(n); err != nil {
			return usageError("--ntp: "+err.Error(), "such as --ntp 192.0.2.1 or --ntp [2001:db8::1]:123")
		}
	}
	transport, err := transportOf(c)
	if err != nil {
		return err
	}
	wish, err := parseWish(c.String("at"), clock.Now())
	if err != nil {
		return err
	}
	strategy, err := strategyOf(c)
	if err != nil {
		return err
	}
	switch {
	case c.Uint("local-port") > 65535:
		return usageError(fmt.Sprintf("--local-port %d is not a port", c.Uint("local-port")), "ports are 1 to 65535")
	case c.Int("budget") < 1:
		return usageError("--budget must be at least 1 SYN", "leave the flag away for the default of 100")
	case c.Int("retries") < 0, c.Int("samples") < 1, c.Duration("timeout") <= 0, c.Duration("wait") <= 0, c.Duration("late") < 0:
		return usageError("--retries and --late cannot be negative, and --samples, --timeout and --wait must be positive", "see --help")
	case c.Int("low-ttl") < 0 || c.Int("low-ttl") > 255:
		return usageError(fmt.Sprintf("--low-ttl %d is no TTL", c.Int("low-ttl")), "a TTL is 1 to 255; 0 is what the routers tell, or else 2")
	case c.Bool("pipe") && (c.Bool("json") || c.Bool("json-stream")):
		return usageError("with --pipe stdout belongs to the peer", "write the report to a file with --json-file")
	}
	inv.config = punch.Config{
		Peer: c.String("peer"), Wish: wish, Clock: clock, Network: network{capture: true},
		Transport: transport, LocalPort: uint16(c.Uint("local-port")), Cache: timeCache(c), NTP: c.StringSlice("ntp"), NoSync: c.Bool("no-sync"), Samples: c.Int("samples"),
		Strategy: strategy, Escalate: strategy == rendezvous.Auto && c.Int("retries") > 0,
		LowTTL: c.Int("low-ttl"), Budget: c.Int("budget"), Retries: c.Int("retries"), Patience: c.Duration("wait"), Timeout: c.Duration("timeout"), Late: c.Duration("late"),
		Residual: c.Duration("residual-error"), Disturb: timing.Disturbance{Step: c.Duration("disturb-step"), Suspend: c.Duration("disturb-suspend")},
		MinTTL: canTellTTL, OnLink: onLink(), Trace: inv.trace,
	}
	if c.Bool("pipe") {
		inv.piped = make(chan error, 1)
		inv.config.Ready = inv.pipe
	}
	return nil
}

// byName meets a peer through the coordinator.
func (inv *invitation) byName() (punch.Result, error) {
	c := inv.c
	var err error
	if inv.config.Coordinator, err = coordinatorAddress(c); err != nil {
		return punch.Result{}, err
	}
	if inv.config.Name, err = ownName(c); err != nil {
		return punch.Result{}, err
	}
	if inv.config.Identity, inv.stateDir, err = loadIdentity(c, inv.config.Name); err != nil {
		return punch.Result{}, err
	}
	if inv.known, err = loadKnownPeers(inv.stateDir, inv.config.Name); err != nil {
		return punch.Result{}, err
	}
	if err := inv.pin(); err != nil {
		return punch.Result{}, err
	}
	return punch.Meet(c.Context, inv.config)
}

func coordinatorAddress(c *cli.Context) (rendezvous.Address, error) {
	address, err := rendezvous.ParseAddress(c.String("coordinator"))
	if err != nil {
		return address, usageError(err.Error(), "pass the string that 'tcppunch coordinator' printed after 'ready:'")
	}
	return address, nil
}

func ownName(c *cli.Context) (string, error) {
	name := c.String("as")
	if name == "" {
		name, _ = os.Hostname()
	}
	if err := rendezvous.CheckName(name); err != nil {
		return "", usageError(fmt.Sprintf("%q cannot be a peer's name: %v", name, err), "choose one with --as")
	}
	return name, nil
}

// pin splits NAME@KEY, and takes the key of an earlier meeting for a bare name.
func (inv *invitation) pin() error {
	name, key, named := strings.Cut(inv.config.Peer, "@")
	if err := rendezvous.CheckName(name); err != nil {
		return usageError(fmt.Sprintf("%q cannot be a peer's name: %v", name, err), "HOST:PORT is for meetings without a coordinator: neither --coordinator nor TCPPUNCH_COORDINATOR may be set then")
	}
	if name == inv.config.Name {
		return usageError("--peer and --as are the same name", "give each side a name of its own")
	}
	inv.config.Peer, inv.config.PeerKey = name, inv.known[name]
	if !named {
		return nil
	}
	id, err := rendezvous.ParseKeyID(key)
	if err != nil {
		return usageError(err.Error(), "the report of a meeting shows the peer's key")
	}
	inv.config.PeerKey = id
	return nil
}

// trust says what stands behind the peer's key, and pins it for the next time.
func (inv *invitation) trust(r *punch.Report) {
	switch {
	case inv.config.PeerKey != "":
		r.PeerTrust = pointerTo(punch.Pinned)
	case inv.stateDir == "":
		r.PeerTrust = pointerTo(punch.CoordinatorsWord)
	default:
		r.PeerTrust = pointerTo(punch.FirstUse)
		inv.known[r.Peer] = r.PeerKey
		if err := inv.known.save(inv.stateDir, inv.config.Name); err != nil {
			inv.streams.say("%v", err)
			r.PeerTrust = pointerTo(punch.CoordinatorsWord)
		}
	}
}

func pointerTo[T any](v T) *T { return &v }

// trace tells each step as it happens: on stdout as JSON lines where that was
// asked for, else on stderr.
func (inv *invitation) trace(e punch.Event) {
	if inv.c.Bool("json-stream") {
		json.NewEncoder(inv.streams.out).Encode(e)
		return
	}
	inv.streams.say("%s: %s", e.Phase, e.Text)
}

// finish hands out the report and the capture, and closes the connection in
// good order.
func (inv *invitation) finish(outcome punch.Result) error {
	r := &outcome.Report
	if r.Established && inv.known != nil {
		inv.trust(r)
	}
	err := inv.deliver(outcome)
	if outcome.Conn != nil {
		err = errors.Join(err, inv.end(outcome.Conn))
	}
	if err != nil {
		return err
	}
	if !r.Established {
		return exitStatus(statusOf(*r.Cause))
	}
	return nil
}

func (inv *invitation) deliver(outcome punch.Result) error {
	c := inv.c
	if path := c.String("capture"); path != "" {
		if err := saveCapture(path, outcome.Capture); err != nil {
			inv.streams.say("%v", err)
		}
	}
	if path := c.String("report"); path != "" {
		if err := savePage(path, outcome); err != nil {
			return err
		}
	}
	document := meetDocument{Report: outcome.Report}
	if cause := outcome.Report.Cause; cause != nil {
		document.Error = &failure{Kind: string(*cause), Message: outcome.Report.Explanation, Hint: hintOf(*cause)}
	}
	if path := c.String("json-file"); path != "" {
		if err := writeJSONFile(path, document); err != nil {
			return err
		}
	}
	switch {
	case inv.piped != nil:
		return writeMeeting(inv.streams.err, document)
	case c.Bool("json-stream"):
		return printJSON(inv.streams.out, schemaOf("meet"), document)
	}
	return result(c, document, func(w io.Writer) error { return writeMeeting(w, document) })
}

// meetDocument is the JSON document of the command.
type meetDocument struct {
	punch.Report
	Error *failure `json:"error,omitempty"` // the cause once more, where the meeting failed
}

func writeJSONFile(path string, document meetDocument) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return errors.Join(printJSON(f, schemaOf("meet"), document), f.Close())
}

// pipe connects the peer to stdin and stdout as soon as there is a connection.
func (inv *invitation) pipe(conn net.Conn) {
	go func() { inv.piped <- copyBoth(conn, inv.streams) }()
}

// copyBoth copies both ways until both ends have said that they are done. An
// end of stdin closes our half only.
func copyBoth(conn net.Conn, s streams) error {
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, s.in)
		sent <- errors.Join(err, closeWrite(conn))
	}()
	_, err := io.Copy(s.out, conn)
	if err != nil {
		return fmt.Errorf("read from peer: %w", err)
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("write to peer: %w", err)
	}
	return nil
}

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// goodbye is how long the peer may take to close its half.
const goodbye = 2 * time.Second

// end waits for the pipe, or without one closes both halves in order, so that
// no reset destroys what is still on its way.
func (inv *invitation) end(conn net.Conn) error {
	defer conn.Close()
	if inv.piped == nil {
		closeWrite(conn)
		conn.SetReadDeadline(time.Now().Add(goodbye))
		io.Copy(io.Discard, conn)
		return nil
	}
	stop := context.AfterFunc(inv.c.Context, func() { conn.Close() })
	defer stop()
	select {
	case err := <-inv.piped:
		if inv.c.Context.Err() != nil {
			return inv.c.Context.Err()
		}
		return err
	case <-inv.c.Context.Done():
		return inv.c.Context.Err()
	}
}

// parseWish reads --at. now is the local clock, against which an absolute time
// must lie in the future.
func parseWish(s string, now time.Time) (rendezvous.Wish, error) {
	if after, ok := strings.CutPrefix(s, "+"); ok {
		d, err := time.ParseDuration(after)
		if err != nil || d < 0 || d > 24*time.Hour {
			return rendezvous.Wish{}, usageError(fmt.Sprintf("--at %q is not a time from now", s), "write +5s, +1m30s, up to +24h")
		}
		return rendezvous.Wish{After: d}, nil
	}
	at, err := parseInstant(s)
	if err != nil {
		return rendezvous.Wish{}, usageError(fmt.Sprintf("--at %q is not a time", s), "write +5s, an RFC 3339 time such as 2030-01-02T15:04:05Z, or Unix seconds")
	}
	if !at.After(now) {
		return rendezvous.Wish{}, usageError(fmt.Sprintf("--at %s lies in the past: it is %s", s, now.UTC().Format(time.RFC3339)), "name a time that both sides still reach")
	}
	return rendezvous.Wish{At: &at}, nil
}

func parseInstant(s string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return at.UTC(), nil
	}
	seconds, err := strconv.ParseFloat(s, 64)
	if err != nil || seconds < 0 || seconds > 1<<33 {
		return time.Time{}, errors.New("not a time")
	}
	whole := int64(seconds)
	return time.Unix(whole, int64((seconds-float64(whole))*1e9)).UTC(), nil
}
