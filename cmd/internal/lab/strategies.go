package lab

import (
	"slices"
	"time"
)

// StrategyConfig says which strategies are tried on which profiles: each with
// itself, and with the opposite one.
type StrategyConfig struct {
	Config     // of every meeting; A, B and Strategy are chosen by the table
	Profiles   []Profile
	Opposite   Profile
	Strategies []string
}

// Strategies is what `lab matrix` prints of several strategies.
type Strategies struct {
	Strategies []string       `json:"strategies"`
	Profiles   []string       `json:"profiles"`
	Opposite   string         `json:"opposite"`
	Delay      int64          `json:"delay_ns"`
	Budget     int            `json:"budget"`
	Cells      []StrategyCell `json:"cells"`
	Wins       []StrategyWin  `json:"wins"`  // over simopen
	Short      []StrategyWin  `json:"short"` // over auto
	Took       int64          `json:"took_ns"`
}

// StrategyCell is one strategy on one pair.
type StrategyCell struct {
	Strategy string  `json:"strategy"`
	A        string  `json:"a"`
	B        string  `json:"b"`
	Summary  Summary `json:"summary"`

	cell MatrixCell
}

// StrategyWin is a pair on which one strategy connected more often than another,
// so that the 95 % intervals do not meet.
type StrategyWin struct {
	A        string `json:"a"`
	B        string `json:"b"`
	Strategy string `json:"strategy"`
	Share    Share  `json:"share"`
	Over     string `json:"over"`
	Less     Share  `json:"less"`
}

// meetings are those of the table, strategy by strategy.
func (s StrategyConfig) meetings() (list []Config) {
	for _, strategy := range s.Strategies {
		for _, pair := range s.pairs() {
			c := s.Config
			c.Strategy, c.A, c.B = strategy, pair[0], pair[1]
			list = append(list, c)
		}
	}
	return list
}

// pairings are the cells of the meetings, in the same order.
func (s StrategyConfig) pairings() (list []pairing) {
	for _, c := range s.meetings() {
		list = append(list, pairing{config: c, theory: foresee(c), prefix: c.Strategy + "--"})
	}
	return list
}

// foresee is roughly how a strategy fares: no measure of it, but an order in
// which to begin, since what fails waits for its time to be up.
func foresee(c Config) Expectation {
	switch c.Strategy {
	case "auto", "simopen":
		return Expect(c.A, c.B, termsOf(c))
	case "reverse":
		return Expectation{Probability: 1} // or it is refused at once
	case "crafted":
		if !letsAnswer(c.A, c.B) && !letsAnswer(c.B, c.A) {
			return Expectation{}
		}
	}
	if moves(c.A) || moves(c.B) || denies(c.A) && denies(c.B) && c.Strategy != "crafted" {
		return Expectation{}
	}
	return Expectation{Probability: 1}
}

// pairs are each profile with itself, and with the opposite one.
func (s StrategyConfig) pairs() (list [][2]Profile) {
	for _, p := range s.Profiles {
		list = append(list, [2]Profile{p, p})
		if p.Name != s.Opposite.Name {
			list = append(list, [2]Profile{p, s.Opposite})
		}
	}
	return list
}

// table puts the cells together, which are in the order of meetings.
func (s StrategyConfig) table(cells []MatrixCell, took time.Duration) Strategies {
	x := Strategies{Strategies: s.Strategies, Opposite: s.Opposite.Name, Delay: int64(s.Delay), Budget: termsOf(s.Config).Budget, Took: int64(took)}
	for _, p := range s.Profiles {
		x.Profiles = append(x.Profiles, p.Name)
	}
	for i, c := range s.meetings() {
		x.Cells = append(x.Cells, strategyCell(c, cells[i]))
	}
	x.Wins, x.Short = x.better("simopen"), x.better("auto")
	return x
}

func strategyCell(c Config, cell MatrixCell) StrategyCell {
	return StrategyCell{Strategy: c.Strategy, A: c.A.Name, B: c.B.Name, Summary: cell.Summary, cell: cell}
}

// better lists what did better than one strategy.
func (x Strategies) better(than string) []StrategyWin {
	list := []StrategyWin{}
	for _, c := range x.Cells {
		if base, ok := x.of(than, c.A, c.B); ok && c.Summary.CI95[0] > base.CI95[1] {
			list = append(list, StrategyWin{A: c.A, B: c.B, Strategy: c.Strategy, Share: shareOf(c.Summary), Over: than, Less: shareOf(base)})
		}
	}
	return list
}

func shareOf(s Summary) (x Share) {
	x.add(s)
	return x
}

// of is the summary of one strategy on one pair.
func (x Strategies) of(strategy, a, b string) (Summary, bool) {
	i := slices.IndexFunc(x.Cells, func(c StrategyCell) bool { return c.Strategy == strategy && c.A == a && c.B == b })
	if i < 0 {
		return Summary{}, false
	}
	return x.Cells[i].Summary, true
}

// Rows are the cells by their pairs, each row in the order of the strategies.
func (x Strategies) Rows() (rows [][]StrategyCell) {
	if len(x.Strategies) == 0 {
		return nil
	}
	n := len(x.Cells) / len(x.Strategies)
	for i := range n {
		var row []StrategyCell
		for k := range x.Strategies {
			row = append(row, x.Cells[k*n+i])
		}
		rows = append(rows, row)
	}
	return rows
}
