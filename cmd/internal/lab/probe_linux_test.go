package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tcppunch/rawsock/netlab/netlabtest"
)

// The limits of one probe, as docs/probe.md promises them.
const (
	probeConnections = 40
	probeTime        = 10 * time.Second
)

// probedColumns are the columns of the table of docs/probe.md after the
// profile: fields of the document.
var probedColumns = []string{"mapping", "filtering", "unsolicited", "simultaneous_open", "mapping_survives_reset", "hairpinning", "pooling", "ports"}

// probeTable reads what a probe must find, by profile.
func probeTable(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/probe.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string][]string{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 1+len(probedColumns) {
			continue
		}
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
		}
		table[cells[0]] = cells[1:]
	}
	return table
}

// found are the same cells of a document.
func found(document map[string]any) []string {
	var cells []string
	for _, column := range probedColumns {
		value := document[column]
		if ports, ok := value.(map[string]any); ok {
			value = ports["model"]
		}
		switch value {
		case nil:
			value = "null"
		case "band", "block": // a subscriber cannot tell them apart
			value = "band or block"
		case "lowest": // nor these, while nothing is released
			value = "sequential"
		}
		cells = append(cells, fmt.Sprint(value))
	}
	return cells
}

// probeIn runs a probe behind a profile, with the lab's coordinator, which has
// two IPv4 addresses.
func probeIn(ctx context.Context, p Profile, dir string) (document map[string]any, err error) {
	c, err := newCell(ctx, Config{A: p, B: Profile{Name: "public", IPv4: true, IPv6: true}, Delay: 4 * time.Millisecond}, dir)
	if err != nil {
		return nil, err
	}
	defer c.close()
	node, err := c.network.start("a", "probe", "--json", "--coordinator", c.coordinatorFor(p))
	if err != nil {
		return nil, err
	}
	<-node.done
	if node.status() != 0 {
		return nil, node.crash("failed")
	}
	return document, json.Unmarshal(node.stdout.Bytes(), &document)
}

// wrong compares a document with its row, and with the limits.
func wrong(document map[string]any, want []string) error {
	if got := found(document); !slices.Equal(got, want) {
		return fmt.Errorf("found %v, want %v; unknown: %v", got, want, document["unknown"])
	}
	if n := document["connections"].(float64); n > probeConnections {
		return fmt.Errorf("took %v connections, want at most %d", n, probeConnections)
	}
	if took := time.Duration(document["elapsed_ns"].(float64)); took > probeTime {
		return fmt.Errorf("took %v, want at most %v", took, probeTime)
	}
	return nil
}

// TestProbeFindsEveryBehaviourOfEveryProfile probes each named profile once, or
// TCPPUNCH_PROBES times, in networks of their own beside each other. Of many
// runs 99 in a hundred must be right in all columns.
func TestProbeFindsEveryBehaviourOfEveryProfile(t *testing.T) {
	netlabtest.Require(t)
	table := probeTable(t)
	names := slices.Sorted(maps.Keys(table))
	for _, p := range Profiles() {
		if table[p.Name] == nil {
			t.Errorf("docs/probe.md has no row for %s", p.Name)
		}
	}
	runs := 1
	if n, err := strconv.Atoi(os.Getenv("TCPPUNCH_PROBES")); err == nil {
		runs = n
	}
	var mu sync.Mutex
	var most float64 // connections
	var longest time.Duration
	failures := map[string][]error{}
	var all sync.WaitGroup
	slots := make(chan struct{}, 13) // most of the time they wait
	dir := t.TempDir()
	for run := range runs {
		for _, p := range Profiles() {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				at := filepath.Join(dir, fmt.Sprintf("%s-%d", p.Name, run))
				err := os.Mkdir(at, 0o755)
				var document map[string]any
				if err == nil {
					document, err = probeIn(t.Context(), p, at)
				}
				if err == nil {
					err = wrong(document, table[p.Name])
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failures[p.Name] = append(failures[p.Name], err)
					return
				}
				most = max(most, document["connections"].(float64))
				longest = max(longest, time.Duration(document["elapsed_ns"].(float64)))
			})
		}
	}
	all.Wait()
	t.Logf("%d probes of each profile; at most %v connections and %v", runs, most, longest)
	for _, name := range names {
		for _, err := range failures[name] {
			t.Logf("%s: %v", name, err)
		}
		if n := len(failures[name]); n*100 > runs {
			t.Errorf("%s: %d of %d probes were wrong", name, n, runs)
		}
	}
}

// TestProbeFindsBehavioursThatNoNamedProfileHas varies one behaviour at a time.
func TestProbeFindsBehavioursThatNoNamedProfileHas(t *testing.T) {
	netlabtest.Require(t)
	var all sync.WaitGroup
	for i, c := range []struct{ profile, column, want string }{
		{"unsolicited=hold", "unsolicited", "hold"},
		{"unsolicited=icmp", "unsolicited", "icmp"},
		{"unsolicited=poison", "unsolicited", "poison"},
		{"unsolicited=poison,overload=yes", "unsolicited", "poison"},
		{"crossing=rst", "simultaneous_open", "false"},
		{"rst=keep", "mapping_survives_reset", "true"},
		{"rst=swallow", "mapping_survives_reset", "true"},
		{"filtering=eif,unsolicited=icmp", "unsolicited", "icmp"},
		{"filtering=eif,unsolicited=rst", "unsolicited", "rst"},
		{"filtering=eif,ports=lowest", "unsolicited", "drop"}, // the port of a mapping that is gone serves the next one
		{"hairpin=yes", "hairpinning", "true"},
		{"hairpin=yes,filtering=eif,mapping=apdm,ports=random", "hairpinning", "true"},
		{"mapping=adm,ports=random", "mapping", "address-dependent"},
		{"mapping=apdm,ports=random,pool=arbitrary:4", "pooling", "arbitrary"},
		{"linux+cgn-block-512", "mapping", "address-and-port-dependent"},
	} {
		dir := filepath.Join(t.TempDir(), strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		p := profile(t, c.profile)
		all.Go(func() {
			document, err := probeIn(t.Context(), p, dir)
			if err != nil {
				t.Errorf("%s: %v", c.profile, err)
				return
			}
			if got := found(document)[slices.Index(probedColumns, c.column)]; got != c.want {
				t.Errorf("%s: found %s %s, want %s; unknown: %v", c.profile, c.column, got, c.want, document["unknown"])
			}
		})
	}
	all.Wait()
}
