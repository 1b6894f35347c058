package lab

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPopulationsAreWholeAndNamed(t *testing.T) {
	for _, p := range populations() {
		sum := 0.0
		for name, share := range p.shares {
			profile(t, name)
			sum += share
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Errorf("the shares of %s add up to %v, want 1", p.name, sum)
		}
	}
}

// measured is a cell with so many successes.
func measured(a, b string, expected float64, established, valid int) MatrixCell {
	trials := make([]Trial, valid)
	for i := range trials {
		trials[i] = Trial{Valid: true, Established: i < established}
	}
	c := MatrixCell{A: a, B: b, Expected: expected, Because: "a test <says> so", Summary: Summarize(trials)}
	c.judge()
	return c
}

func TestCellsAgreeWithTheoryInsideTheirInterval(t *testing.T) {
	for _, c := range []struct {
		expected           float64
		established, valid int
		want               bool
	}{
		{1, 5, 5, true}, {1, 4, 5, false}, {0, 0, 5, true}, {0.995, 5, 5, true}, {0, 1, 5, false},
		{0.5, 3, 5, true}, {0.5, 5, 5, true}, {0.1, 5, 5, false}, {0.5, 50, 100, true}, {0.5, 70, 100, false},
	} {
		if got := measured("a", "b", c.expected, c.established, c.valid).Agrees; got != c.want {
			t.Errorf("expected %v, measured %d of %d: agrees %v, want %v", c.expected, c.established, c.valid, got, c.want)
		}
	}
}

func TestAMatrixMayHoldOnlyWhatChanceDecides(t *testing.T) {
	config := MatrixConfig{Config: Config{Delay: DefaultDelay, Budget: 100, Retries: -1}}
	for _, name := range []string{"linux", "cellular-band-251", "firewall6"} {
		config.Profiles = append(config.Profiles, profile(t, name))
	}
	for _, uncertain := range []bool{false, true} {
		config.Uncertain = uncertain
		var got []string
		for _, p := range config.pairings() {
			got = append(got, p.config.A.Name+" "+p.config.B.Name)
			if p.theory != Expect(p.config.A, p.config.B, termsOf(config.Config)) || uncertain && certain(p.theory.Probability) {
				t.Errorf("%s: expected %+v", got[len(got)-1], p.theory)
			}
		}
		want := []string{"linux linux", "linux cellular-band-251", "linux firewall6", "cellular-band-251 cellular-band-251", "cellular-band-251 firewall6", "firewall6 firewall6"}
		if uncertain {
			want = want[3:4]
		}
		if !slices.Equal(got, want) {
			t.Errorf("uncertain ones only: %v; got %q, want %q", uncertain, got, want)
		}
	}
}

func TestManyTrialsOfAPairAreDivided(t *testing.T) {
	for trials, want := range map[int][]int{0: {1}, 1: {1}, 20: {20}, 21: {10, 11}, 100: {20, 20, 20, 20, 20}} {
		p := pairing{config: Config{A: profile(t, "linux"), B: profile(t, "azure"), Trials: trials}, prefix: "auto--"}
		var got []int
		directories := map[string]bool{}
		for _, part := range p.parts() {
			got = append(got, part.config.Trials)
			directories[part.directory] = true
		}
		if !slices.Equal(got, want) || len(directories) != len(want) || !directories["auto--linux--azure"] {
			t.Errorf("%d trials: got %v in %v, want %v", trials, got, slices.Collect(maps.Keys(directories)), want)
		}
	}
}

func TestWhatTakesLongBeginsFirst(t *testing.T) {
	var list []pairing
	for _, p := range []float64{1, 0.2, 1, 0} {
		list = append(list, pairing{theory: Expectation{Probability: p}})
	}
	list = append(list, pairing{theory: Expectation{Because: noSYN}})
	if got, want := longestFirst(list), []int{3, 1, 0, 2, 4}; !slices.Equal(got, want) {
		t.Errorf("got the order %v, want %v", got, want)
	}
}

func TestMatrixIsSummarized(t *testing.T) {
	blocked, reset := causeBlocked, causeReset
	failed := measured("cisco-asa", "cisco-asa", 0, 0, 0)
	failed.Summary = Summarize([]Trial{
		{Valid: true, TrueCause: &blocked, Cause: &blocked}, {Valid: true, TrueCause: &blocked, Cause: &reset}, {InvalidReason: &reset}})
	m := Matrix{Profiles: []string{"linux", "cisco-asa"}, Cells: []MatrixCell{
		measured("linux", "linux", 1, 4, 4), measured("linux", "cisco-asa", 0.5, 1, 2), failed}}
	m.summarize(0)
	s := m.Summary
	if s.Trials != 9 || s.Valid != 8 || s.Established != 5 || s.Certain != 2 || len(s.Disagreements) != 0 {
		t.Errorf("got %+v", s)
	}
	if want := 0.5 / 8; math.Abs(*s.Brier-want) > 1e-12 { // two halves squared
		t.Errorf("Brier score %v, want %v", *s.Brier, want)
	}
	if s.Diagnosed != 2 || *s.DiagnosisCorrect != .5 || s.Recall[causeBlocked] != .5 {
		t.Errorf("diagnosis: got %+v", s)
	}
	home := s.Weighted[0]
	if home.Success == nil || *home.Success != 1 || home.Covered <= 0 || home.CI95[0] <= 0 {
		t.Errorf("home routers: got %+v, want those of linux × linux", home)
	}
}

func TestHeatmapStandsAloneAndLeadsToEveryCell(t *testing.T) {
	m := Matrix{Profiles: []string{"linux", "<odd>", "left out"}, Cells: []MatrixCell{
		measured("linux", "linux", 1, 1, 1), measured("linux", "<odd>", 1, 0, 1), measured("<odd>", "<odd>", 0.5, 1, 2)}}
	m.summarize(0)
	var page strings.Builder
	if err := m.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	html := page.String()
	for _, bad := range []string{"<script", "http://", "https://", "<odd>", "<says>", "%!"} {
		if strings.Contains(html, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	for i := range m.Cells {
		anchor := string(rune('0' + i))
		if !strings.Contains(html, `href="#c`+anchor+`"`) || !strings.Contains(html, `id="c`+anchor+`"`) {
			t.Errorf("nothing leads to cell %d", i)
		}
	}
	if n := strings.Count(html, "<td></td>"); n != 3 {
		t.Errorf("%d cells are empty, want the 3 that were left out", n)
	}
	if n := len(regexp.MustCompile(`class="odd"`).FindAllString(html, -1)); n != 1 {
		t.Errorf("%d cells are marked as odd, want 1", n)
	}
}
