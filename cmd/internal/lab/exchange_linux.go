package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"tcppunch/captures"
)

// clients are the vantage points that every trial has.
var clients = []struct{ side, file string }{{"a", "a.pcapng"}, {"b", "b.pcapng"}}

// exchange is what the clients captured of each other, judged: the opening that
// tells most. It is nil where no SYN between them was captured.
func (t *trial) exchange() (*captures.Handshake, error) {
	var sources []captures.Source
	for _, c := range clients {
		f, err := os.Open(t.file(c.file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // that side sent nothing
		}
		if err != nil {
			return nil, fmt.Errorf("read capture: %w", err)
		}
		defer f.Close()
		sources = append(sources, captures.Source{Name: "client " + c.side, Reader: f})
	}
	if len(sources) == 0 {
		return nil, nil
	}
	return t.telling(sources)
}

// telling judges what several places captured, and returns the opening between
// the two sides that tells most.
func (t *trial) telling(sources []captures.Source) (*captures.Handshake, error) {
	all, err := captures.Analyze(sources, captures.Filter{})
	if err != nil {
		return nil, fmt.Errorf("analyse captures: %w", err)
	}
	who := sidesOf(t.network.Scenario)
	all.Handshakes = slices.DeleteFunc(all.Handshakes, func(h captures.Handshake) bool {
		return who.between(header{source: h.A, destination: h.B}) == 0
	})
	return all.Telling(), nil
}

// views are the endpoints of the exchange at each client.
func (t *trial) views() (a, b view) {
	for _, n := range t.network.Scenario.Nodes {
		for _, v := range t.shown.Vantages {
			if v.Name != "client "+n.Name {
				continue
			}
			seen := view{own: v.A, aimed: v.B}
			if slices.Contains(n.addresses(), v.B.Addr()) {
				seen = view{own: v.B, aimed: v.A}
			}
			if n.Name == "a" {
				a = seen
			} else {
				b = seen
			}
		}
	}
	return a, b
}

func (t *trial) boxNames() []string {
	var names []string
	for _, n := range t.network.Scenario.Boxes() {
		names = append(names, n.Name)
	}
	return names
}
