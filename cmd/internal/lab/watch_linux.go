package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
)

// feed tells everybody who watches of each event of the boxes.
type feed struct {
	mu       sync.Mutex
	watchers []chan Mapping
}

// tell must not block: it runs on the core's thread, too. Who is too slow misses
// events.
func (f *feed) tell(m Mapping) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.watchers {
		select {
		case w <- m:
		default:
		}
	}
}

// Watch is a channel of what the boxes do from now on, until stop is called.
func (n *Network) Watch() (events <-chan Mapping, stop func()) {
	w := make(chan Mapping, 4096)
	n.feed.mu.Lock()
	defer n.feed.mu.Unlock()
	n.feed.watchers = append(n.feed.watchers, w)
	return w, func() {
		n.feed.mu.Lock()
		defer n.feed.mu.Unlock()
		n.feed.watchers = slices.DeleteFunc(n.feed.watchers, func(x chan Mapping) bool { return x == w })
		close(w)
	}
}

// Watch shows what the boxes of a lab of its own do while its clients meet once.
// It must be called in the supervisor.
func Watch(ctx context.Context, config Config, asJSON bool, out io.Writer) error {
	return withCell(ctx, config, "", func(c *cell) error {
		t, err := c.newTrial(ctx)
		if err != nil {
			return err
		}
		defer t.close()
		events, stop := c.network.Watch()
		var shown sync.WaitGroup
		shown.Go(func() { show(events, asJSON, out) })
		_, err = t.meet(ctx)
		stop()
		shown.Wait()
		return err
	})
}

// Up keeps a lab running until the context ends, for shells and watchers. It
// must be called in the supervisor.
func Up(ctx context.Context, config Config, talk io.Writer) error {
	return withCell(ctx, config, "", func(c *cell) error {
		door, err := c.openDoor()
		if err != nil {
			return err
		}
		defer door.close()
		number := os.Getenv(envStarter)
		fmt.Fprintf(talk, "lab %s is up: %s × %s; nodes %s; Ctrl-C ends it\n", number, config.A.Name, config.B.Name, strings.Join(c.network.Scenario.nodeNames(), ", "))
		fmt.Fprintf(talk, "tcppunch lab shell --lab %s NODE\ntcppunch lab watch --lab %s\n", number, number)
		<-ctx.Done()
		return nil
	})
}

// show prints events until there are no more, or until nobody reads them.
func show(events <-chan Mapping, asJSON bool, out io.Writer) {
	encoder := json.NewEncoder(out)
	for m := range events {
		var err error
		if asJSON {
			err = encoder.Encode(m)
		} else {
			_, err = fmt.Fprintln(out, m.line())
		}
		if err != nil {
			for range events { // nobody reads any more
			}
		}
	}
}

// line is an event for people.
func (m Mapping) line() string {
	what := string(m.Change)
	if m.Decision != "" {
		what = m.Decision
	}
	arrow := "→"
	if m.Inbound {
		arrow = "←"
	}
	text := fmt.Sprintf("%s %-7s %-17s %s %s as %s %s %s", m.At.Format("15:04:05.000000"), m.Box, what, m.Protocol, m.Inside, m.Outside, arrow, m.Peer)
	for _, more := range []string{m.State, m.Reason} {
		if more != "" {
			text += "  " + more
		}
	}
	return text
}

// watch shows a visitor what the boxes do, until either leaves.
func (d *door) watch(conn *net.UnixConn, k knock, out io.Writer) parting {
	events, stop := d.cell.network.Watch()
	gone, leave := context.WithCancel(d.ctx)
	d.visits.Go(func() {
		defer leave()
		conn.Read(make([]byte, 1)) // ends when the visitor does
	})
	d.visits.Go(func() {
		<-gone.Done()
		conn.CloseRead()
		stop()
	})
	show(events, k.JSON, out)
	leave()
	return parting{}
}

// WatchRunning shows what the boxes of the lab that was started as process pid
// do. It runs outside of the supervisor.
func WatchRunning(ctx context.Context, pid int, asJSON bool) error {
	p, err := visit(ctx, pid, func(conn *net.UnixConn) (parting, error) {
		return ask(conn, knock{Watch: true, JSON: asJSON}, os.Stdin, os.Stdout, os.Stderr)
	})
	if err == nil && p.Error != "" {
		err = errors.New(p.Error)
	}
	return err
}
