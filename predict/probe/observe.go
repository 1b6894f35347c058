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

// Errors of a server that answers, but not with an observation.
var (
	ErrRefused   = errors.New("server answered with an error")
	ErrMalformed = errors.New("server sent a malformed answer")
)

// Observe asks server, over a new connection from local, where it sees that
// connection come from. USERNAME is sent unless username is empty. On success
// the connection is open and without a deadline; on failure it is closed, and
// the error is a *ServerError.
func Observe(ctx context.Context, d Dialer, local, server netip.AddrPort, username string) (Held, error) {
	request, err := bindingRequest(username)
	if err != nil {
		return Held{}, &ServerError{server, err}
	}
	at := time.Now() // before the SYN leaves, which makes the mapping
	conn, err := d.Dial(ctx, local, server)
	if err != nil {
		return Held{}, &ServerError{server, err}
	}
	response, err := exchange(ctx, conn, request)
	if err == nil {
		var held Held
		if held, err = interpret(response); err == nil {
			held.Conn = conn
			held.At, held.Local, held.Server = at, bound(conn, local), server
			return held, nil
		}
	}
	conn.Close()
	return Held{}, &ServerError{server, err}
}

func observeWithin(ctx context.Context, limit time.Duration, d Dialer, local, server netip.AddrPort, username string) (Held, error) {
	silent := fmt.Errorf("no answer within %v: %w", limit, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, silent)
	defer cancel()
	return Observe(ctx, d, local, server, username)
}

// bindingRequest makes a request with a fresh transaction identifier.
func bindingRequest(username string) (*stun.Message, error) {
	setters := []stun.Setter{stun.TransactionID, stun.BindingRequest}
	if username != "" {
		setters = append(setters, stun.NewUsername(username))
	}
	m, err := stun.Build(setters...)
	if err != nil {
		return nil, fmt.Errorf("build Binding request: %w", err)
	}
	return m, nil
}

// exchange writes request and reads its response, and leaves conn without a
// deadline. It ends early when ctx does.
func exchange(ctx context.Context, conn net.Conn, request *stun.Message) (*stun.Message, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	response, err := converse(conn, request)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return response, err
}

func converse(conn net.Conn, request *stun.Message) (*stun.Message, error) {
	if _, err := conn.Write(request.Raw); err != nil {
		return nil, fmt.Errorf("send Binding request: %w", err)
	}
	const patience = 8 // messages that are not the answer, before giving up
	for range patience {
		m, err := ReadMessage(conn)
		if err != nil {
			return nil, fmt.Errorf("read Binding response: %w", unexpected(err))
		}
		if m.TransactionID == request.TransactionID && m.Type.Method == stun.MethodBinding {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%w: no response to our request among %d messages", ErrMalformed, patience)
}

// interpret reads the addresses out of a response.
func interpret(m *stun.Message) (Held, error) {
	switch m.Type.Class {
	case stun.ClassSuccessResponse:
	case stun.ClassErrorResponse:
		return Held{}, refusal(m)
	default:
		return Held{}, fmt.Errorf("%w: class %v", ErrMalformed, m.Type.Class)
	}
	reflexive, err := address(m, stun.AttrXORMappedAddress)
	if err != nil {
		return Held{}, err
	}
	if !reflexive.IsValid() || reflexive.Port() == 0 {
		return Held{}, fmt.Errorf("%w: no XOR-MAPPED-ADDRESS", ErrMalformed)
	}
	other, err := address(m, stun.AttrOtherAddress)
	if err != nil {
		return Held{}, err
	}
	plain, err := address(m, stun.AttrMappedAddress)
	if err != nil {
		return Held{}, err
	}
	return Held{Observation: predict.Observation{Reflexive: reflexive}, Other: other, Plain: plain}, nil
}

// refusal words an error response. The reason phrase is a stranger's text:
// quoted and cut.
func refusal(m *stun.Message) error {
	var code stun.ErrorCodeAttribute
	if err := code.GetFrom(m); err != nil {
		return fmt.Errorf("%w without a code", ErrRefused)
	}
	return fmt.Errorf("%w: %d %.80q", ErrRefused, code.Code, code.Reason)
}

// bound is the connection's own local endpoint, or what was asked for.
func bound(conn net.Conn, asked netip.AddrPort) netip.AddrPort {
	if a := endpoint(conn.LocalAddr()); a.IsValid() {
		return a
	}
	return asked
}

// endpoint converts the address of a TCP connection; IPv4 in IPv4 form.
func endpoint(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
