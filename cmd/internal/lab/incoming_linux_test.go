package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tcppunch/rawsock/netlab/netlabtest"
)

// meetings runs both clients of a cell through the public command, with so much
// time until the instant that every test by dial-back but the wait for a held SYN
// is over before.
func meetings(ctx context.Context, a, b Profile, strategy, dir string) (documents [2]map[string]any, err error) {
	c, err := newCell(ctx, Config{A: a, B: b, Delay: 10 * time.Millisecond}, dir)
	if err != nil {
		return documents, err
	}
	defer c.close()
	var clients []*process
	for i, side := range []string{"a", "b"} {
		p, err := c.network.start(side, "meet", "--as", side, "--peer", string("ba"[i]), "--coordinator", c.coordinatorFor([]Profile{a, b}[i]),
			"--at", "+6s", "--timeout", "3s", "--strategy", strategy, "--json", "--state", filepath.Join(dir, side))
		if err != nil {
			return documents, err
		}
		clients = append(clients, p)
	}
	if err := awaitAll(ctx, time.Minute, clients...); err != nil {
		return documents, err
	}
	for i, p := range clients {
		if err := json.Unmarshal(p.stdout.Bytes(), &documents[i]); err != nil {
			return documents, p.crash(fmt.Sprintf("printed no JSON document (%v)", err))
		}
	}
	return documents, nil
}

// TestAMeetingLearnsWhatItsNATDoesToSYNsFromOutside: each side knows it of its
// own NAT and, by the offer, of the peer's, as the probe's table has it; silence
// is not called drop before a NAT would have answered a SYN that it holds.
func TestAMeetingLearnsWhatItsNATDoesToSYNsFromOutside(t *testing.T) {
	t.Parallel()
	netlabtest.Require(t)
	table := probeTable(t)
	var all sync.WaitGroup
	for i, c := range []struct{ a, b, strategy, cause string }{
		{"openwrt", "full-cone", "auto", ""},
		{"symmetric", "address-restricted", "auto", ""},
		{"dual-open-denied", "dual-open-denied", "simopen", causeBlocked},
	} {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		a, b := profile(t, c.a), profile(t, c.b)
		all.Go(func() {
			documents, err := meetings(t.Context(), a, b, c.strategy, dir)
			if err != nil {
				t.Errorf("%s × %s: %v", c.a, c.b, err)
				return
			}
			for i, d := range documents {
				if got, _ := d["cause"].(string); got != c.cause {
					t.Errorf("%s × %s: the cause is %q (%v), want %q", c.a, c.b, got, d["explanation"], c.cause)
				}
				own, peer := []string{c.a, c.b}[i], []string{c.b, c.a}[i]
				seesIncoming(t, own, "nat", d, table[own])
				seesIncoming(t, peer, "peer_nat", d, table[peer])
			}
		})
	}
	all.Wait()
}

func seesIncoming(t *testing.T, profile, field string, document map[string]any, row []string) {
	got, _ := document[field].(map[string]any)
	for i, column := range probedColumns[1:5] {
		want := row[1+i]
		if column == "unsolicited" && want == "drop" {
			continue // that takes as long as a NAT may hold a SYN
		}
		value := got[column]
		if value == nil {
			value = "null"
		}
		if fmt.Sprint(value) != want {
			t.Errorf("%s in %s: %s is %v, want %s; unknown: %v", profile, field, column, value, want, got["unknown"])
		}
	}
}

// beside starts a second coordinator.
func (c *cell) beside(ctx context.Context, program string, args ...string) (address string, err error) {
	server, ready, err := c.network.serveBy(ctx, program, "coordinator", append([]string{"coordinator", "--listen", ":7771", "--advertise", coordinator4.String(),
		"--state", filepath.Join(c.dir, "beside")}, args...)...)
	if err != nil {
		return "", err
	}
	c.servers.add(server)
	return ready, nil
}

// limited is what a probe through a lesser coordinator must find of a field, and
// what must be said of it where that is null.
type limited struct{ profile, field, want, why string }

func probesThrough(t *testing.T, program string, flags []string, list []limited) {
	var all sync.WaitGroup
	documents := map[string]map[string]any{}
	for _, l := range list {
		if documents[l.profile] != nil {
			continue
		}
		d := map[string]any{}
		documents[l.profile] = d
		p, dir := profile(t, l.profile), filepath.Join(t.TempDir(), l.profile)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		c, err := newCell(t.Context(), Config{A: p, B: profile(t, "public"), Delay: 4 * time.Millisecond}, dir)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		address, err := c.beside(t.Context(), program, flags...)
		if err != nil {
			t.Fatal(err)
		}
		node, err := c.network.start("a", "probe", "--json", "--coordinator", address)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			<-node.done
			if err := json.Unmarshal(node.stdout.Bytes(), &d); err != nil || node.status() != 0 {
				t.Errorf("%s: %v", l.profile, node.crash("failed"))
			}
		})
	}
	all.Wait()
	for _, l := range list {
		got := documents[l.profile][l.field]
		if got == nil {
			got = "null"
		}
		if fmt.Sprint(got) != l.want || !strings.Contains(reasonIn(documents[l.profile], l.field), l.why) {
			t.Errorf("%s: %s is %v because %q, want %s because of %q", l.profile, l.field, got, reasonIn(documents[l.profile], l.field), l.want, l.why)
		}
	}
}

func reasonIn(document map[string]any, field string) string {
	list, _ := document["unknown"].([]any)
	for _, u := range list {
		if m := u.(map[string]any); m["field"] == field {
			return m["why"].(string)
		}
	}
	return ""
}

func TestProbeThroughACoordinatorWithOneAddressLeavesOpenWhatItCannotTell(t *testing.T) {
	t.Parallel()
	netlabtest.Require(t)
	const second = "second address"
	probesThrough(t, nodeProgram, []string{"--stun", ":3578", "--stun-alternate", ":3579"}, []limited{
		{"port-restricted", "filtering", "address-and-port-dependent", ""},
		{"port-restricted", "unsolicited", "drop", ""},
		{"port-restricted", "simultaneous_open", "true", ""},
		{"port-restricted", "mapping_survives_reset", "false", ""},
		{"address-restricted", "filtering", "null", second},
		{"full-cone", "filtering", "null", second},
		{"full-cone", "simultaneous_open", "true", ""},
		{"symmetric", "simultaneous_open", "true", ""},
	})
}

// TestProbeThroughACoordinatorThatSeesNoPackets: without CAP_NET_RAW it does not
// hear from where a SYN comes that it leaves unanswered.
func TestProbeThroughACoordinatorThatSeesNoPackets(t *testing.T) {
	t.Parallel()
	netlabtest.Require(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("missing: setpriv (package util-linux) in PATH, to start a program without CAP_NET_RAW")
	}
	lesser := filepath.Join(t.TempDir(), "lesser")
	script := fmt.Sprintf("#!/bin/sh\nexec %s --bounding-set=-net_raw --inh-caps=-net_raw %s \"$@\"\n", setpriv, nodeProgram)
	if err := os.WriteFile(lesser, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	const privilege = "CAP_NET_RAW"
	probesThrough(t, lesser, []string{"--stun", ":3578", "--stun-alternate", coordinatorAlt4.String() + ":3579"}, []limited{
		{"port-restricted", "filtering", "address-and-port-dependent", ""},
		{"port-restricted", "simultaneous_open", "true", ""},
		{"port-restricted", "mapping_survives_reset", "false", ""},
		{"full-cone", "filtering", "endpoint-independent", ""},
		{"full-cone", "unsolicited", "null", ""},
		{"full-cone", "mapping_survives_reset", "null", privilege},
		{"symmetric", "filtering", "address-and-port-dependent", ""},
		{"symmetric", "simultaneous_open", "null", privilege},
		{"symmetric", "mapping_survives_reset", "null", privilege},
	})
}
