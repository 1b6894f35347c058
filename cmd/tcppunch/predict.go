package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

func predictCommand() *cli.Command {
	return &cli.Command{
		Name:  "predict",
		Usage: "say from recorded observations which port a NAT gives next, and how to hit it",
		Description: "Reads observations, one JSON object per line: {\"at\", \"local\", \"server\", \"reflexive\"}.\n" +
			"No packet is sent. Exit status 1: not even a peer with a known port would be met.",
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.StringFlag{Name: "observations", Usage: "read them from `FILE`; - is standard input", Value: "-"},
			&cli.IntFlag{Name: "budget", Usage: "plan with `N` SYNs, both sides' together", Value: 100},
			&cli.DurationFlag{Name: "gap", Usage: "`DURATION` from the last observation to the next mapping", Value: 300 * time.Millisecond},
			&cli.IntFlag{Name: "candidates", Usage: "show the `N` likeliest ports", Value: 10},
		},
		Action: predictPorts,
	}
}

// prediction is the document of the command.
type prediction struct {
	predict.Behavior
	Observed int           `json:"observed"`
	Outside  string        `json:"outside"`
	Gap      time.Duration `json:"gap_ns"`
	Budget   int           `json:"budget"`
	Plans    []peerPlan    `json:"plans"`
}

// peerPlan is the best plan against one kind of peer.
type peerPlan struct {
	Peer string `json:"peer"` // knownPort or sameNAT
	predict.Plan
}

const (
	knownPort = "known-port" // endpoint-independent mapping
	sameNAT   = "same-kind"  // behind a NAT that behaves like this one
)

// hopelessBelow is the probability at which a meeting is not tried.
const hopelessBelow = 0.01

func predictPorts(c *cli.Context) error {
	if err := checkPredictFlags(c); err != nil {
		return err
	}
	obs, err := readObservations(c)
	if err != nil {
		return err
	}
	p := newPrediction(obs, c.Duration("gap"), c.Int("budget"), c.Int("candidates"))
	if err := result(c, p, func(w io.Writer) error { return printPrediction(w, p) }); err != nil {
		return err
	}
	if p.Plans[0].Probability < hopelessBelow {
		return exitStatus(statusNo)
	}
	return nil
}

func checkPredictFlags(c *cli.Context) error {
	const mostSYNs, mostCandidates = 100_000, 10_000
	switch budget, n := c.Int("budget"), c.Int("candidates"); {
	case c.Args().Len() > 0:
		return usageError(fmt.Sprintf("predict takes no argument, such as %q", c.Args().First()), "name the file with --observations")
	case budget < 1 || budget > mostSYNs:
		return usageError(fmt.Sprintf("--budget %d is not between 1 and %d", budget, mostSYNs), "")
	case n < 0 || n > mostCandidates:
		return usageError(fmt.Sprintf("--candidates %d is not between 0 and %d", n, mostCandidates), "")
	case c.Duration("gap") < 0:
		return usageError(fmt.Sprintf("--gap %s is negative", c.Duration("gap")), "")
	}
	return nil
}

func newPrediction(obs []predict.Observation, gap time.Duration, budget, candidates int) prediction {
	b := predict.Classify(obs)
	own := predict.Party{Behavior: b, Outside: obs[len(obs)-1].Reflexive, Gap: gap}
	easy := predict.Party{Outside: own.Outside, Gap: gap, Behavior: predict.Behavior{
		Mapping: nat.EndpointIndependent, Filtering: nat.FilterAddressAndPortDependent,
	}}
	p := prediction{Behavior: b, Observed: len(obs), Outside: own.Outside.Addr().String(), Gap: gap, Budget: budget}
	p.Ports.Next = predict.Next(own, candidates)
	p.Plans = []peerPlan{
		{knownPort, predict.NewPlan(own, easy, budget)},
		{sameNAT, predict.NewPlan(own, own, budget)},
	}
	return p
}

// readObservations reads the file or standard input, and returns what it holds
// in order of time.
func readObservations(c *cli.Context) ([]predict.Observation, error) {
	name, in := c.String("observations"), streamsOf(c).in
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, readFailure(c.Context, err)
		}
		defer file.Close()
		in = file
	} else {
		name = "standard input"
	}
	obs, err := decodeObservations(interruptible{c.Context, in})
	if line, bad := errors.AsType[*badLine](err); bad {
		return nil, &failure{Status: statusFailed, Kind: "observations", Message: fmt.Sprintf("%s, line %d: %s", name, line.number, line.reason), Hint: observationHint}
	}
	if err != nil {
		return nil, readFailure(c.Context, err)
	}
	if len(obs) == 0 {
		return nil, &failure{Status: statusFailed, Kind: "observations", Message: name + " holds no observation", Hint: observationHint}
	}
	slices.SortStableFunc(obs, func(a, b predict.Observation) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	return obs, nil
}

const observationHint = `a line looks like {"at":"2026-01-02T03:04:05Z","local":"192.168.0.2:5000","server":"198.51.100.1:3478","reflexive":"203.0.113.1:6000"}`

// badLine is a line that holds no observation.
type badLine struct {
	number int
	reason string
}

func (b *badLine) Error() string { return fmt.Sprintf("line %d: %s", b.number, b.reason) }

// Bounds on what is read.
const (
	longestLine      = 64 << 10 // bytes
	mostObservations = 100_000
)

func decodeObservations(in io.Reader) ([]predict.Observation, error) {
	var list []predict.Observation
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestLine)
	number := 0
	for lines.Scan() {
		number++
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		if len(list) == mostObservations {
			return nil, &badLine{number, fmt.Sprintf("more than %d observations", mostObservations)}
		}
		o, err := decodeObservation(text)
		if err != nil {
			return nil, &badLine{number, err.Error()}
		}
		list = append(list, o)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, &badLine{number + 1, fmt.Sprintf("longer than %d bytes", longestLine)}
	}
	return list, lines.Err()
}

func decodeObservation(text []byte) (predict.Observation, error) {
	var o predict.Observation
	if err := json.Unmarshal(text, &o); err != nil {
		return o, fmt.Errorf("no observation: %w", err)
	}
	switch {
	case o.At.IsZero():
		return o, errors.New("at is missing")
	case !o.Reflexive.IsValid() || o.Reflexive.Port() == 0:
		return o, errors.New("reflexive is missing, or has no port")
	}
	return o, nil
}
