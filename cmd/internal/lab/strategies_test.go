package lab

import (
	"strings"
	"testing"
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
		cells = append(cells, measured(c.A.Name, c.B.Name, 1, connected, 10))
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
	var page strings.Builder
	if err := x.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "dual-open-denied × linux") || strings.Count(page.String(), `class="pair"`) != 9 {
		t.Errorf("the page: %v, %d bytes, want every pair and 9 exchanges", err, page.Len())
	}
}
