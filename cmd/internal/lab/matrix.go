package lab

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"tcppunch/captures"
)

// MatrixConfig says which profiles meet which, and how.
type MatrixConfig struct {
	Config    // of every meeting; A and B are chosen by the matrix
	Profiles  []Profile
	Uncertain bool // only the pairs of which theory is not certain
}

// A pairing is a cell before it has run.
type pairing struct {
	config Config
	theory Expectation
	prefix string // of the name of its directory

	directory string // of a part
}

// mostTrials is how many meetings of a pair follow one another. What is beyond is
// another part, beside the first, in a network of its own: or the slowest of the
// pairs would run on alone for minutes.
const mostTrials = 20

// parts divides the trials of a pair.
func (p pairing) parts() []pairing {
	trials := max(p.config.Trials, 1)
	parts := make([]pairing, (trials+mostTrials-1)/mostTrials)
	for k := range parts {
		parts[k] = p
		parts[k].config.Trials = trials*(k+1)/len(parts) - trials*k/len(parts)
		parts[k].directory = p.prefix + p.config.A.Name + "--" + p.config.B.Name
		if k > 0 {
			parts[k].directory += fmt.Sprintf("/part-%d", k+1)
		}
	}
	return parts
}

// pairings are the cells of a matrix with what theory expects of each, which is
// found out before anything runs.
func (c MatrixConfig) pairings() []pairing {
	all := make([]pairing, 0, len(c.Profiles)*(len(c.Profiles)+1)/2)
	for i, a := range c.Profiles {
		for _, b := range c.Profiles[i:] {
			p := pairing{config: c.Config}
			p.config.A, p.config.B = a, b
			all = append(all, p)
		}
	}
	var expecting sync.WaitGroup
	processors := runtime.GOMAXPROCS(0)
	for first := range processors {
		expecting.Go(func() {
			for i := first; i < len(all); i += processors {
				p := &all[i]
				p.theory = Expect(p.config.A, p.config.B, termsOf(p.config))
			}
		})
	}
	expecting.Wait()
	if c.Uncertain {
		all = slices.DeleteFunc(all, func(p pairing) bool { return certain(p.theory.Probability) })
	}
	return all
}

// longestFirst is the order in which cells begin, by their places: what takes long
// would hold up the end. That is what is likely to fail, unless it gives up at once.
func longestFirst(list []pairing) []int {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	length := func(p pairing) float64 {
		if p.theory.Because == noFamily || p.theory.Because == noSYN {
			return 0
		}
		return 2 - p.theory.Probability
	}
	slices.SortStableFunc(order, func(i, k int) int { return cmp.Compare(length(list[k]), length(list[i])) })
	return order
}

// certain says that an expectation leaves next to no room for chance.
func certain(p float64) bool { return p <= sureOf || p >= 1-sureOf }

// Matrix is what `lab matrix` prints: every unordered pair of profiles, each
// profile with itself included.
type Matrix struct {
	Profiles  []string      `json:"profiles"`
	Transport string        `json:"transport"`
	Delay     int64         `json:"delay_ns"`
	Budget    int           `json:"budget"`
	Cells     []MatrixCell  `json:"cells"`
	Summary   MatrixSummary `json:"summary"`
}

// MatrixCell is one pair.
type MatrixCell struct {
	A        string     `json:"a"`
	B        string     `json:"b"`
	Expected float64    `json:"expected"` // probability to connect, by theory
	Because  string     `json:"because"`  // what decides it, by theory
	Timed    bool       `json:"timed"`    // microseconds may decide, so it ran with little beside it
	Agrees   bool       `json:"agrees"`   // what was measured lies inside the 99 % interval around what was expected
	CI99     [2]float64 `json:"ci99"`     // of the share that connected
	Summary  Summary    `json:"summary"`

	// Shown is the exchange of one trial, of a failed one if there was one; nil
	// where no SYN was captured. Failure is what the clients said of it.
	Shown   *captures.Handshake `json:"-"`
	Failure string              `json:"-"`
	// Connected is the exchange of the first trial that connected.
	Connected *captures.Handshake `json:"-"`
}

// MatrixSummary is the matrix in a few numbers.
type MatrixSummary struct {
	Cells       int        `json:"cells"`
	Trials      int        `json:"trials"` // run, invalid ones included
	Valid       int        `json:"valid"`
	Rerun       float64    `json:"rerun"` // share of the trials that this machine was too slow for, and that were run again
	Established int        `json:"established"`
	Success     *float64   `json:"success"` // share of the valid trials, every pair alike
	CI95        [2]float64 `json:"ci95"`

	Weighted []Weighted `json:"weighted"` // by published prevalence

	Certain          int      `json:"certain"`           // cells of which theory is sure: expected ≥ 0.99 or ≤ 0.01
	CertainRight     int      `json:"certain_right"`     // of these, all trials ended so
	Disagreements    []string `json:"disagreements"`     // cells that do not agree with theory
	Strays           float64  `json:"strays"`            // cells that would not agree by chance, on the mean, if theory were right in all
	Brier            *float64 `json:"brier"`             // mean square of expected minus outcome
	Diagnosed        int      `json:"diagnosed"`         // failures whose true cause is known
	DiagnosisCorrect *float64 `json:"diagnosis_correct"` // share of them that the tool named

	Confusion map[string]map[string]int `json:"confusion"` // true cause → the tool's cause → trials
	Recall    map[string]float64        `json:"recall"`    // share of each true cause that the tool named

	Judged           int                       `json:"judged"`            // trials of which the captures' verdict and the true one are known
	JudgementCorrect *float64                  `json:"judgement_correct"` // share of them in which they are the same
	Judgements       map[string]map[string]int `json:"judgements"`        // true verdict → the captures' verdict → trials

	Took   int64  `json:"took_ns"`
	Memory *int64 `json:"memory_peak_bytes"` // of all processes of the lab together, shared pages counted once; nil: unknown
}

// Weighted is the success for a population of users: both sides drawn from it.
type Weighted struct {
	Population string     `json:"population"`
	Covered    float64    `json:"covered"` // share of the pairs of its users that the matrix holds
	Success    *float64   `json:"success"`
	CI95       [2]float64 `json:"ci95"`
}

// timed says that two resetting sides make timing decide, so that what else
// runs on this machine does.
func timed(a, b Profile) bool {
	return resets(a) && resets(b) && reachable(a, b) && !a.Shared && !b.Shared
}

// roomy is the delay from which on the milliseconds that work beside a meeting
// costs decide nothing: SYNs cross that leave so long after each other.
const roomy = 10 * time.Millisecond

// beside is the configuration of a meeting beside many others.
func (c Config) beside() Config {
	c.roughly = c.Delay >= roomy && !timed(c.A, c.B)
	c.burst = max(512, 8*termsOf(c).Budget)
	return c
}

// judge compares a cell's measurement with theory.
func (c *MatrixCell) judge() {
	c.CI99 = wilsonAt(float64(c.Summary.Established), float64(c.Summary.Valid), z99)
	if certain(c.Expected) {
		c.Agrees = c.Summary.Established == int(math.Round(c.Expected))*c.Summary.Valid
		return
	}
	c.Agrees = within99(c.Expected, c.Summary.Established, c.Summary.Valid)
}

// sureOf is how far from 0 or 1 an expectation may be to be called certain.
const sureOf = 0.01

// summarize puts the cells together.
func (m *Matrix) summarize(took time.Duration) {
	s := MatrixSummary{Cells: len(m.Cells), Disagreements: []string{}, Judgements: map[string]map[string]int{},
		Confusion: map[string]map[string]int{}, Recall: map[string]float64{}, Took: int64(took)}
	square := 0.0
	for _, c := range m.Cells {
		s.Trials += c.Summary.Trials
		s.Valid += c.Summary.Valid
		s.Established += c.Summary.Established
		square += c.square()
		if certain(c.Expected) {
			s.Certain++
			if c.Agrees {
				s.CertainRight++
			}
		}
		if !c.Agrees {
			s.Disagreements = append(s.Disagreements, c.A+" × "+c.B)
		}
		addAll(s.Confusion, c.Summary.Confusion)
		addAll(s.Judgements, c.Summary.Judgements)
	}
	s.Success, s.CI95 = share(s.Established, s.Valid), wilson(s.Established, s.Valid)
	s.Rerun = float64(s.Trials-s.Valid) / float64(max(s.Trials, 1))
	if s.Valid > 0 {
		s.Brier = new(square / float64(s.Valid))
	}
	s.diagnose()
	s.Judged, s.JudgementCorrect = agreement(s.Judgements)
	s.Strays = strays(m.Cells)
	s.Weighted = m.weigh()
	m.Summary = s
}

// square is the sum of the squares of expected minus outcome (Brier 1950).
func (c MatrixCell) square() float64 {
	k, n := float64(c.Summary.Established), float64(c.Summary.Valid)
	return k*(1-c.Expected)*(1-c.Expected) + (n-k)*c.Expected*c.Expected
}

func (s *MatrixSummary) diagnose() {
	correct := 0
	for truth, said := range s.Confusion {
		right, all := 0, 0
		for cause, n := range said {
			all += n
			if cause == truth {
				right += n
			}
		}
		s.Recall[truth] = float64(right) / float64(all)
		s.Diagnosed += all
		correct += right
	}
	s.DiagnosisCorrect = share(correct, s.Diagnosed)
}

func addAll(to, from map[string]map[string]int) {
	for truth, said := range from {
		for word, n := range said {
			addTo(to, truth, word, n)
		}
	}
}

func addTo(m map[string]map[string]int, truth, cause string, n int) {
	if m[truth] == nil {
		m[truth] = map[string]int{}
	}
	m[truth][cause] += n
}
