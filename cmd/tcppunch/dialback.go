package main

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict/probe"
	"tcppunch/rawsock"
)

// dialBackSockets hands package rawsock to a coordinator that probes NATs.
type dialBackSockets struct{}

func (dialBackSockets) Ear(local netip.Addr) (rendezvous.Ear, error) {
	return rawsock.OpenEar(netip.AddrPortFrom(local, 0))
}

// Dial makes one attempt. What stands is closed at once: that it stood is the
// answer.
func (dialBackSockets) Dial(ctx context.Context, local, to netip.AddrPort, wait time.Duration) (probe.Reached, error) {
	s, err := rawsock.Open(local, rawsock.Options{})
	if err != nil {
		return probe.Reached{}, err
	}
	defer s.Close()
	if err := s.KeepErrors(); err != nil {
		return probe.Reached{}, err
	}
	r := probe.Reached{Port: s.Local().Port()}
	began := time.Now()
	if err := s.Connect(to); err != nil {
		return r, err
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = s.Wait(limited)
	r.After = time.Since(began)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	r.Answer, r.ICMP, r.Code, err = answerOf(s, err)
	return r, err
}

// answerOf words the outcome of an attempt. An ICMP error that says that the
// destination is unreachable, whatever the reason, is an answer; others, such as
// a loop of routers, say nothing of the NAT.
func answerOf(s *rawsock.Socket, outcome error) (a probe.Answer, kind, code uint8, err error) {
	rejection, rejected := s.Rejection()
	switch {
	case outcome == nil:
		return probe.Connected, 0, 0, nil
	case rejected && unreachable(s.Local().Addr(), rejection):
		return probe.Unreachable, rejection.Type, rejection.Code, nil
	case !rejected && errors.Is(outcome, rawsock.ErrRefused):
		return probe.Refused, 0, 0, nil
	case errors.Is(outcome, context.DeadlineExceeded), errors.Is(outcome, rawsock.ErrTimeout):
		return probe.Silent, 0, 0, nil
	}
	return probe.AnswerUnknown, 0, 0, outcome
}

// unreachable recognises type 3 of RFC 792 and type 1 of RFC 4443.
func unreachable(local netip.Addr, r rawsock.Rejection) bool {
	return local.Is4() && r.Type == 3 || local.Is6() && r.Type == 1
}
