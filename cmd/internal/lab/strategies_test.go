package lab

import (
	"net/netip"
	"strings"
	"testing"

	"tcppunch/captures"
)

func TestTableOfStrategiesNamesTheWins(t *testing.T) {
	linux, denied := profile(t, "linux"), profile(t, "dual-open-denied")
	config := StrategyConfig{Profiles: []Profile{linux, denied}, Opposite: linux, Strategies: []string{"auto", "simopen", "crafted"}}
	meetings := config.meetings()
	var cells []MatrixCell
	for _, c := range meetings {
		connected := 10
		if c.A.Name == c.B.Name && (c.A.Name == "linux") == (c.Strategy == "crafted") {
			connected = 0
		}
		cell := measured(c.A.Name, c.B.Name, 1, connected, 10)
		cell.Shown, cell.Connected = judged(captures.VerdictUnanswered), judged(captures.VerdictThreeWay)
		cells = append(cells, cell)
	}
	x := config.table(cells, 0)
	if len(meetings) != 9 || len(x.Rows()) != 3 {
		t.Fatalf("%d meetings in %d rows, want 9 in 3", len(meetings), len(x.Rows()))
	}
	for _, row := range x.Rows() {
		for i, c := range row {
			if c.Strategy != x.Strategies[i] || c.A != row[0].A || c.B != row[0].B {
				t.Errorf("a row holds %s on %s × %s, want %s on %s × %s", c.Strategy, c.A, c.B, x.Strategies[i], row[0].A, row[0].B)
			}
		}
	}
	for what, list := range map[string][]StrategyWin{"simopen": x.Wins, "auto": x.Short} {
		if len(list) != 1 || list[0].Strategy != "crafted" || list[0].A != "dual-open-denied" || list[0].B != "dual-open-denied" || list[0].Over != what {
			t.Errorf("better than %s: %+v, want crafted on dual-open-denied with itself", what, list)
		}
	}
	for i, p := range config.pairings() {
		if p.config.Strategy != meetings[i].Strategy || p.config.A.Name != meetings[i].A.Name || p.config.B.Name != meetings[i].B.Name {
			t.Errorf("cell %d is %s on %s × %s, want the meeting's", i, p.config.Strategy, p.config.A.Name, p.config.B.Name)
		}
	}
	var page strings.Builder
	if err := x.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "dual-open-denied × linux") || strings.Count(page.String(), `class="pair"`) != 9 {
		t.Errorf("the page: %v, %d bytes, want every pair and 9 exchanges", err, page.Len())
	}
	if n := strings.Count(page.String(), "<svg"); n != 9 {
		t.Errorf("the page has %d ladders, want one behind each cell", n)
	}
	for _, way := range []string{`<a href="#c5">crafted</a></td><td>10 of 10</td><td class="faint"><a href="#c4">simopen</a> 0 of 10`,
		`connected, three-way</a>`, `0 of 10 connected, unanswered</a>`} {
		if !strings.Contains(page.String(), way) {
			t.Errorf("the page lacks %s", way)
		}
	}
}

// judged is an exchange of one SYN that was judged so.
func judged(verdict captures.Verdict) *captures.Handshake {
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")
	return &captures.Handshake{A: a, B: b, Verdict: verdict, Vantages: []captures.Vantage{{Name: "a"}},
		Events: []captures.Event{{Packet: 1, Side: captures.SideA, Kind: captures.KindSyn, From: a, To: b}}}
}
