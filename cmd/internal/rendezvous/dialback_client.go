package rendezvous

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"tcppunch/predict/probe"
)

// questions are requests that wait for their answers.
type questions struct {
	mu   sync.Mutex
	last uint32
	open map[uint32]chan probeAnswer
}

func (q *questions) ask() (id uint32, answer chan probeAnswer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == nil {
		q.open = map[uint32]chan probeAnswer{}
	}
	q.last++
	answer = make(chan probeAnswer, 1)
	q.open[q.last] = answer
	return q.last, answer
}

func (q *questions) drop(id uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, id)
}

// answer hands an answer to who waits for it, once.
func (q *questions) answer(a probeAnswer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c := q.open[a.ID]; c != nil {
		c <- a
		delete(q.open, a.ID)
	}
}

// DialBack lets the coordinator dial back to this host. Its methods may be
// called concurrently.
func (c *Client) DialBack() probe.DialBack { return clientBack{c} }

type clientBack struct{ c *Client }

func (b clientBack) Host() netip.Addr { return b.c.Remote().Addr() }

func (b clientBack) Open(ctx context.Context) (probe.Door, error) {
	id, a, err := b.c.probe(ctx, probeRequest{Do: stepOpen})
	if err != nil {
		return nil, err
	}
	return clientDoor{b.c, id, a.Port}, nil
}

func (b clientBack) DialElsewhere(ctx context.Context, to netip.AddrPort, wait time.Duration) (probe.Reached, error) {
	return b.c.reached(ctx, probeRequest{Do: stepElsewhere, To: to, Wait: wait})
}

type clientDoor struct {
	c    *Client
	id   uint32
	port uint16
}

func (d clientDoor) Port() uint16 { return d.port }

func (d clientDoor) Watch(ctx context.Context) (netip.AddrPort, error) {
	_, a, err := d.c.probe(ctx, probeRequest{Do: stepWatch, Door: d.id})
	return a.Seen, err
}

func (d clientDoor) Refuse(ctx context.Context) error {
	_, _, err := d.c.probe(ctx, probeRequest{Do: stepRefuse, Door: d.id})
	return err
}

func (d clientDoor) Dial(ctx context.Context, to netip.AddrPort, wait time.Duration) (probe.Reached, error) {
	return d.c.reached(ctx, probeRequest{Do: stepDial, Door: d.id, To: to, Wait: wait})
}

func (c *Client) reached(ctx context.Context, q probeRequest) (probe.Reached, error) {
	_, a, err := c.probe(ctx, q)
	if err == nil && a.Reached == nil {
		err = errOutOfTurn
	}
	if err != nil {
		return probe.Reached{}, err
	}
	return *a.Reached, nil
}

// probe makes one step and waits for its answer.
func (c *Client) probe(ctx context.Context, q probeRequest) (uint32, probeAnswer, error) {
	id, answer := c.asked.ask()
	defer c.asked.drop(id)
	q.ID = id
	if err := c.send(ctx, message{Probe: &q}); err != nil {
		return id, probeAnswer{}, err
	}
	select {
	case a := <-answer:
		if a.Failed != "" {
			return id, a, errors.New(printable(a.Failed))
		}
		return id, a, nil
	case <-c.done:
		return id, probeAnswer{}, c.reason
	case <-ctx.Done():
		return id, probeAnswer{}, ctx.Err()
	}
}
