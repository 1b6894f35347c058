package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pion/stun/v3"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

// reuse lets several connections share a local port, where the platform's
// test knows how.
var reuse func(network, address string, c syscall.RawConn) error

type dialer struct{}

func (dialer) Dial(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local), Control: reuse}
	return d.DialContext(ctx, "tcp", remote.String())
}

// serve runs handle for each connection to a loopback listener until the test
// ends.
func serve(t *testing.T, address string, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil && os.Getenv("TCPPUNCH_TEST") != "require-lab" {
		t.Skipf("missing: a loopback listener on %s: %v", address, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); running.Wait() })
	return endpoint(l.Addr())
}

func observe(t *testing.T, local, server netip.AddrPort, username string) Held {
	t.Helper()
	held, err := Observe(t.Context(), dialer{}, local, server, username)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Conn.Close() })
	return held
}

func TestObservationIsWhatTheResponderSees(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		other := netip.AddrPortFrom(netip.MustParseAddr(host), 3479)
		type binding struct {
			username string
			from     netip.AddrPort
		}
		bindings, served := make(chan binding, 1), make(chan error, 1)
		server := serve(t, net.JoinHostPort(host, "0"), func(conn net.Conn) {
			served <- Respond(conn, other, func(u string, from netip.AddrPort) { bindings <- binding{u, from} })
		})
		before := time.Now()
		held := observe(t, netip.AddrPortFrom(server.Addr(), 0), server, "meeting:alice")
		got := <-bindings
		if got.username != "meeting:alice" || got.from != held.Reflexive {
			t.Errorf("%s: responder saw %+v, client %v", host, got, held.Reflexive)
		}
		if held.Reflexive != endpoint(held.Conn.LocalAddr()) || held.Local != held.Reflexive || held.Server != server || held.Other != other {
			t.Errorf("%s: got %+v", host, held)
		}
		if held.At.Before(before) || held.At.After(time.Now()) {
			t.Errorf("%s: at %v, want since %v", host, held.At, before)
		}
		if b := predict.Classify([]predict.Observation{held.Observation}); b.Mapping != nat.EndpointIndependent || *b.Translated {
			t.Errorf("%s: loopback is classified %+v", host, b)
		}
		held.Conn.Close()
		if err := <-served; err != nil {
			t.Errorf("%s: responder ended with %v, want nil after a close", host, err)
		}
	}
}

func TestHeldConnectionStaysUsable(t *testing.T) {
	server := serve(t, "127.0.0.1:0", func(conn net.Conn) { Respond(conn, netip.AddrPort{}, nil) })
	ctx, cancel := context.WithCancel(t.Context())
	held, err := Observe(ctx, dialer{}, netip.AddrPort{}, server, "")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Conn.Close()
	cancel() // must not reach the connection any more
	request, err := bindingRequest("")
	if err != nil {
		t.Fatal(err)
	}
	response, err := converse(held.Conn, request)
	if err != nil {
		t.Fatalf("second exchange: %v", err)
	}
	if again, err := interpret(response); err != nil || again.Reflexive != held.Reflexive || again.Other.IsValid() {
		t.Errorf("second exchange: got %+v, %v, want %v and no other address", again, err, held.Reflexive)
	}
}

func TestSilentServerEndsWithTheContext(t *testing.T) {
	reached := make(chan struct{})
	server := serve(t, "127.0.0.1:0", func(conn net.Conn) {
		close(reached)
		io.Copy(io.Discard, conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	if _, err := Observe(ctx, dialer{}, netip.AddrPort{}, server, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	_, err := observeWithin(t.Context(), 50*time.Millisecond, dialer{}, netip.AddrPort{}, listener(t), "")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

// listener accepts in the kernel only, and never answers.
func listener(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return endpoint(l.Addr())
}

// answers reads a request and lets reply make the bytes that come back.
func answers(t *testing.T, reply func(request *stun.Message) []byte) error {
	t.Helper()
	server := serve(t, "127.0.0.1:0", func(conn net.Conn) {
		request, err := ReadMessage(conn)
		if err != nil {
			t.Error(err)
			return
		}
		conn.Write(reply(request))
	})
	held, err := Observe(t.Context(), dialer{}, netip.AddrPort{}, server, "")
	if err == nil {
		held.Conn.Close()
	}
	return err
}

func built(t *testing.T, setters ...stun.Setter) []byte {
	t.Helper()
	m, err := stun.Build(setters...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func TestBadAnswersAreErrors(t *testing.T) {
	short := stun.RawAttribute{Type: stun.AttrXORMappedAddress, Value: []byte{0, 1, 1, 1, 9}}
	family := stun.RawAttribute{Type: stun.AttrXORMappedAddress, Value: []byte{0, 7, 1, 1, 9, 9, 9, 9}}
	good := &stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1), Port: 7}
	for name, test := range map[string]struct {
		reply func(*stun.Message) []byte
		want  error
	}{
		"nothing":   {func(*stun.Message) []byte { return nil }, io.ErrUnexpectedEOF},
		"HTTP":      {func(*stun.Message) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, ErrNotSTUN},
		"cut short": {func(r *stun.Message) []byte { return built(t, r, stun.BindingSuccess, good)[:25] }, io.ErrUnexpectedEOF},
		"error":     {func(r *stun.Message) []byte { return built(t, r, bindingError, stun.CodeUnauthorized) }, ErrRefused},
		"no code":   {func(r *stun.Message) []byte { return built(t, r, bindingError) }, ErrRefused},
		"a request": {func(r *stun.Message) []byte { return r.Raw }, ErrMalformed},
		"no address": {func(r *stun.Message) []byte {
			return built(t, r, stun.BindingSuccess)
		}, ErrMalformed},
		"short address":  {func(r *stun.Message) []byte { return built(t, r, stun.BindingSuccess, short) }, ErrMalformed},
		"unknown family": {func(r *stun.Message) []byte { return built(t, r, stun.BindingSuccess, family) }, ErrMalformed},
		"another's answers": {func(*stun.Message) []byte {
			return bytes.Repeat(built(t, stun.TransactionID, stun.BindingSuccess, good), 20)
		}, ErrMalformed},
		"port 0": {func(r *stun.Message) []byte {
			return built(t, r, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1)})
		}, ErrMalformed},
	} {
		if err := answers(t, test.reply); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestAnswerBehindForeignMessagesIsFound(t *testing.T) {
	good := &stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1), Port: 7}
	err := answers(t, func(r *stun.Message) []byte {
		foreign := built(t, stun.TransactionID, stun.BindingSuccess, good)
		return append(foreign, built(t, r, stun.BindingSuccess, good)...)
	})
	if err != nil {
		t.Error(err)
	}
}

// ask sends raw bytes to a responder and returns what it answers, and its
// error.
func ask(t *testing.T, r Responder, raw []byte) ([]byte, error) {
	t.Helper()
	served := make(chan error, 1)
	server := serve(t, "127.0.0.1:0", func(conn net.Conn) { served <- r.Serve(conn) })
	conn, err := net.Dial("tcp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(raw); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(conn) // may end by RST when bytes were left unread
	return answer, <-served
}

func TestUnknownRequiredAttributesGetError420(t *testing.T) {
	raw := built(t, stun.TransactionID, stun.BindingRequest, stun.NewUsername("x"),
		stun.RawAttribute{Type: stun.AttrChangeRequest, Value: []byte{0, 0, 0, 6}},
		stun.RawAttribute{Type: 0x7777, Value: []byte{1}}, stun.RawAttribute{Type: 0x7777, Value: []byte{2}},
		stun.RawAttribute{Type: 0x8777, Value: []byte{1}})
	called := false
	answer, err := ask(t, Responder{OnBinding: func(string, netip.AddrPort) { called = true }}, raw)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadMessage(bytes.NewReader(answer))
	if err != nil {
		t.Fatal(err)
	}
	var code stun.ErrorCodeAttribute
	var unknown stun.UnknownAttributes
	if err := errors.Join(code.GetFrom(m), unknown.GetFrom(m)); err != nil {
		t.Fatal(err)
	}
	if code.Code != stun.CodeUnknownAttribute || len(unknown) != 2 || unknown[0] != stun.AttrChangeRequest || unknown[1] != 0x7777 || called {
		t.Errorf("got %v %v (called: %v), want 420 about CHANGE-REQUEST and 0x7777", code, unknown, called)
	}
}

func TestUnfitUsernameGetsError400(t *testing.T) {
	for _, username := range []string{strings.Repeat("x", 509), "\xff"} {
		raw := built(t, stun.TransactionID, stun.BindingRequest, stun.RawAttribute{Type: stun.AttrUsername, Value: []byte(username)})
		answer, err := ask(t, Responder{}, raw)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ReadMessage(bytes.NewReader(answer))
		if err != nil {
			t.Fatal(err)
		}
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(m); err != nil || code.Code != stun.CodeBadRequest {
			t.Errorf("%.9q: got %v, %v, want 400", username, code, err)
		}
	}
}

func TestResponderIsBoundedAndDiscardsWhatIsNoRequest(t *testing.T) {
	request := built(t, stun.TransactionID, stun.BindingRequest)
	indication := built(t, stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication))
	allocate := built(t, stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest))
	long := bytes.Clone(request)
	binary.BigEndian.PutUint16(long[2:], 65532)
	for name, test := range map[string]struct {
		raw     []byte
		answers int
		want    error
	}{
		"nothing":          {nil, 0, nil},
		"two joined":       {append(bytes.Clone(request), request...), 2, nil},
		"indication first": {append(indication, request...), 1, nil},
		"other method":     {append(allocate, request...), 1, nil},
		"one too many":     {bytes.Repeat(request, 3), 3, ErrTooManyRequests},
		"cut short":        {request[:19], 0, io.ErrUnexpectedEOF},
		"too long":         {long, 0, ErrTooLong},
		"TLS hello":        {[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghijklmn"), 0, ErrNotSTUN},
	} {
		answer, err := ask(t, Responder{Requests: 3}, test.raw)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got error %v, want %v", name, err, test.want)
		}
		if got := count(t, answer); got != test.answers {
			t.Errorf("%s: got %d answers, want %d", name, got, test.answers)
		}
	}
}

func count(t *testing.T, stream []byte) (n int) {
	t.Helper()
	for r := bytes.NewReader(stream); ; n++ {
		if _, err := ReadMessage(r); err == io.EOF {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSilentClientIsLeft(t *testing.T) {
	served := make(chan error, 1)
	server := serve(t, "127.0.0.1:0", func(conn net.Conn) { served <- Responder{Idle: time.Millisecond}.Serve(conn) })
	conn, err := net.Dial("tcp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := <-served; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want %v", err, os.ErrDeadlineExceeded)
	}
}

func TestMessageIsFramedHoweverTheStreamIsCut(t *testing.T) {
	want := built(t, stun.TransactionID, stun.BindingRequest, stun.NewUsername("abc"))
	tail := []byte("next")
	r := bytes.NewReader(append(bytes.Clone(want), tail...))
	m, err := ReadMessage(iotest.OneByteReader(r))
	if err != nil || !bytes.Equal(m.Raw, want) {
		t.Fatalf("got %x, %v, want %x", m, err, want)
	}
	if rest, _ := io.ReadAll(r); !bytes.Equal(rest, tail) {
		t.Errorf("left %q, want %q", rest, tail)
	}
}

// Whatever a stranger sends, reading, interpreting and answering end without
// a panic and within the limits.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n"))
	for _, setters := range [][]stun.Setter{
		{stun.TransactionID, stun.BindingRequest, stun.NewUsername("abc")},
		{stun.TransactionID, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv6loopback, Port: 9}, &stun.OtherAddress{IP: net.IPv4(192, 0, 2, 1), Port: 3}},
		{stun.TransactionID, bindingError, stun.CodeUnknownAttribute, stun.UnknownAttributes{0x7777}},
	} {
		m, err := stun.Build(setters...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Raw)
		f.Add(m.Raw[:len(m.Raw)-1])
	}
	from := netip.MustParseAddrPort("192.0.2.1:5000")
	f.Fuzz(func(t *testing.T, stream []byte) {
		m, err := ReadMessage(bytes.NewReader(stream))
		if err != nil {
			return
		}
		if len(m.Raw) > MaxMessage || !bytes.Equal(m.Raw, stream[:len(m.Raw)]) {
			t.Fatalf("message of %d bytes is not the head of the stream", len(m.Raw))
		}
		if held, err := interpret(m); err == nil && (!held.Reflexive.IsValid() || held.Reflexive.Port() == 0) {
			t.Errorf("interpreted as %v", held.Reflexive)
		}
		answer, err := Responder{}.answer(m, from)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ReadMessage(bytes.NewReader(answer.Raw)); err != nil || again.TransactionID != m.TransactionID {
			t.Errorf("our answer is not readable: %v", err)
		}
	})
}
