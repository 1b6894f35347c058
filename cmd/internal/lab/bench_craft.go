package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// CraftVariants are the ways of sending crafted SYNs that are compared: ours, a
// loop around sendmmsg in C, and the same loop in Go without anything of ours.
var CraftVariants = []string{"crafted", "c", "go"}

// CraftConfig says how many SYNs to send, how often, and how many single SYNs to
// launch each way. All is required.
type CraftConfig struct {
	SYNs     int `json:"syns"`
	Rounds   int `json:"rounds"`
	Launches int `json:"launches"`
}

// CraftDocument is what `lab bench craft` prints.
type CraftDocument struct {
	Benchmark string       `json:"benchmark"`
	Machine   BenchMachine `json:"machine"`
	CraftConfig
	CraftTimes
	Compiler *string                `json:"compiler"` // of the rival in C; null: there is none, and so no such rival
	Median   map[string]int64       `json:"median_ns"`
	Rate     map[string]float64     `json:"syns_per_second"`
	Share    map[string]float64     `json:"crafted_to"` // our rate divided by each rival's
	Late     map[string]Percentiles `json:"lateness_ns"`
}

// CraftTimes is how long each burst took, by variant, and how far each single
// SYN was from its instant at the tap, without the sign: of crafted ones and of
// those of connect().
type CraftTimes struct {
	Elapsed    map[string][]int64 `json:"elapsed_ns"`
	Apart      map[string][]int64 `json:"late_ns"`
	Privileges json.RawMessage    `json:"privileges"`
}

// conclude computes what follows from the measured times.
func (d *CraftDocument) conclude() {
	d.Median, d.Rate, d.Share, d.Late = map[string]int64{}, map[string]float64{}, map[string]float64{}, map[string]Percentiles{}
	for v, list := range d.Elapsed {
		d.Median[v] = *percentiles(list).P50
		d.Rate[v] = float64(d.SYNs) / time.Duration(d.Median[v]).Seconds()
	}
	for v, rate := range d.Rate {
		if v != CraftVariants[0] {
			d.Share[v] = d.Rate[CraftVariants[0]] / rate
		}
	}
	for v, list := range d.Apart {
		d.Late[v] = percentiles(list)
	}
}

// Rival is the running rival in C, which sends a burst whenever it is asked.
type Rival struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	answer *bufio.Scanner
}

// StartRival starts a program that was built from rivalSource.
func StartRival(path string, local, remote netip.AddrPort, syns int) (*Rival, error) {
	r := &Rival{cmd: exec.Command(path, local.Addr().String(), strconv.Itoa(int(local.Port())),
		remote.Addr().String(), strconv.Itoa(int(remote.Port())), strconv.Itoa(syns))}
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		r.in, err = r.cmd.StdinPipe()
	}
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start the rival: %w", err)
	}
	r.answer = bufio.NewScanner(out)
	return r, nil
}

// Burst sends one burst and says how long that took, by the rival's own clock.
func (r *Rival) Burst() (time.Duration, error) {
	if _, err := io.WriteString(r.in, "\n"); err != nil {
		return 0, fmt.Errorf("ask the rival: %w", err)
	}
	if !r.answer.Scan() {
		return 0, fmt.Errorf("ask the rival: %w", errors.Join(r.answer.Err(), io.ErrUnexpectedEOF))
	}
	n, err := strconv.ParseInt(strings.TrimSpace(r.answer.Text()), 10, 64)
	return time.Duration(n), err
}

// Close ends the rival.
func (r *Rival) Close() error {
	r.in.Close()
	return r.cmd.Wait()
}
