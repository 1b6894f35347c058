package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"

	"tcppunch/predict"
)

// firstRTO is the wait before the first retransmission of a request; it doubles
// from one to the next (RFC 8489 section 6.2.1).
const firstRTO = 500 * time.Millisecond

// Datagram answers one Binding request that came over UDP, or returns nil
// where there is nothing to answer. The answer leaves SOFTWARE out and so adds
// to the shortest request 24 bytes over IPv4, 48 over IPv6: a source that was
// forged gets at most 1.5 or 1.75 times what the forger sent, headers included.
// OnBinding is not called, since such a source proves nothing.
func (r Responder) Datagram(request []byte, from netip.AddrPort) []byte {
	m, err := parseDatagram(request)
	if err != nil || m.Type != stun.BindingRequest {
		return nil
	}
	setters := []stun.Setter{m, stun.BindingSuccess, &stun.XORMappedAddress{IP: from.Addr().Unmap().AsSlice(), Port: int(from.Port())}}
	if r.Other.IsValid() {
		setters = append(setters, &stun.OtherAddress{IP: r.Other.Addr().Unmap().AsSlice(), Port: int(r.Other.Port())})
	}
	if unknown := unknownRequired(m); len(unknown) > 0 {
		code := stun.ErrorCodeAttribute{Code: stun.CodeUnknownAttribute} // the reason phrase is for people and may be empty
		setters = []stun.Setter{m, bindingError, code, unknown}
	}
	answer, err := stun.Build(setters...)
	if err != nil {
		return nil
	}
	return answer.Raw
}

// parseDatagram reads a message that fills its datagram.
func parseDatagram(b []byte) (*stun.Message, error) {
	if len(b) > MaxMessage {
		return nil, ErrTooLong
	}
	if !stun.IsMessage(b) || b[0]&0xC0 != 0 || headerSize+int(b[2])<<8+int(b[3]) != len(b) {
		return nil, ErrNotSTUN
	}
	m := &stun.Message{Raw: append([]byte(nil), b...)}
	if err := m.Decode(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSTUN, err)
	}
	return m, nil
}

// ObserveDatagrams asks each server in turn over UDP, from one open socket,
// where it sees that socket. It returns what it got, and the joined errors,
// each a *ServerError, of the servers that failed. Every server has PerServer to
// answer, and ctx bounds them all. Other datagrams that arrive meanwhile are
// lost. The socket has no read deadline afterwards.
func ObserveDatagrams(ctx context.Context, conn *net.UDPConn, local netip.AddrPort, servers []netip.AddrPort) ([]predict.Observation, error) {
	var all []predict.Observation
	var failed []error
	defer conn.SetReadDeadline(time.Time{})
	for _, server := range servers {
		at := time.Now()
		held, err := askOver(ctx, conn, server)
		if err != nil {
			failed = append(failed, &ServerError{server, err})
			continue
		}
		all = append(all, predict.Observation{At: at, Local: local, Server: server, Reflexive: held.Reflexive})
	}
	return all, errors.Join(failed...)
}

// askOver sends a request until its response is there.
func askOver(ctx context.Context, conn *net.UDPConn, server netip.AddrPort) (Held, error) {
	request, err := bindingRequest("")
	if err != nil {
		return Held{}, err
	}
	end := time.Now().Add(PerServer)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	for rto := firstRTO; time.Now().Before(end) && ctx.Err() == nil; rto *= 2 {
		if _, err := conn.WriteToUDPAddrPort(request.Raw, server); err != nil {
			return Held{}, fmt.Errorf("send Binding request: %w", err)
		}
		until := time.Now().Add(rto)
		if until.After(end) {
			until = end
		}
		if m := awaitResponse(ctx, conn, server, request, until); m != nil {
			return interpret(m)
		}
	}
	if ctx.Err() != nil {
		return Held{}, context.Cause(ctx)
	}
	return Held{}, fmt.Errorf("no answer within %v: %w", PerServer, context.DeadlineExceeded)
}

// awaitResponse reads until the response is there, or nil when time is up.
func awaitResponse(ctx context.Context, conn *net.UDPConn, server netip.AddrPort, request *stun.Message, until time.Time) *stun.Message {
	conn.SetReadDeadline(until)
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, MaxMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return nil
		}
		m, err := parseDatagram(buffer[:n])
		source := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if err == nil && source == server && m.TransactionID == request.TransactionID && m.Type.Method == stun.MethodBinding {
			return m
		}
	}
}
