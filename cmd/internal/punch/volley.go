package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict"
	"tcppunch/timing"
)

// mostRounds bounds a meeting of volleys; the budget usually ends it before.
const mostRounds = 8

// volleys is the state of the rounds of a meeting in which a side's ports must
// be foretold.
type volleys struct {
	*meeting
	schedule rendezvous.Schedule
	pair     rendezvous.Pair
	attested []netip.AddrPort
	left     int       // SYNs that both sides together may still send
	runners  []*runner // of the newest round
	plan     plan      // of the newest round
	aimed    predict.Side
	resets   int // that answered the SYNs of the newest round
	delta    int // from one port to the next, as last foretold; 0 where they do not follow one another
}

// volleys goes through the rounds, from cheap to costly, until one connects.
func (m *meeting) volleys(ctx context.Context, s rendezvous.Schedule, attested []netip.AddrPort) (net.Conn, error) {
	pair := s.Planned(m.cfg.Identity.ID())
	if _, err := m.admit([]rendezvous.Pair{pair}, attested); err != nil {
		return nil, err
	}
	if err := m.checkClock(); err != nil {
		return nil, err
	}
	v := &volleys{meeting: m, schedule: s, pair: pair, attested: attested, left: s.Budget}
	won, err := v.rounds(ctx)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil && won == nil {
		return nil, ctx.Err()
	}
	return v.explain(won)
}

func (v *volleys) rounds(ctx context.Context) (*nominated, error) {
	until := v.planAt(v.schedule, v.schedule.At, nil).at.Add(v.cfg.Timeout)
	for round := 1; round <= mostRounds && v.left >= 2 && (round == 1 || timing.Now() < until); round++ {
		volley, err := v.next(ctx, round)
		if err == nil && volley.Plan.Probability < hopeless {
			err = &failed{Infeasible, infeasible(v.left, volley.Plan.Probability)}
		}
		if err != nil {
			return nil, v.lastWord(err)
		}
		won, err := v.carryOut(ctx, volley)
		if won != nil || err != nil || ctx.Err() != nil {
			return won, err
		}
	}
	return nil, nil
}

// lastWord: where an earlier round has failed, that says more than why there
// is no further one.
func (v *volleys) lastWord(err error) error {
	var no *failed
	if errors.As(err, &no) && len(v.report.Rounds) > 0 && (no.cause != Infeasible || v.sent()) {
		v.trace(Agree, "no further round: %s", no.text)
		return nil
	}
	return err
}

// sent says that a round was carried out whose ports were foretold.
func (v *volleys) sent() bool {
	return slices.ContainsFunc(v.report.Rounds, func(r Round) bool { return r.Strategy != rendezvous.Knock })
}

// next plans a round with the peer.
func (v *volleys) next(ctx context.Context, round int) (rendezvous.Volley, error) {
	if round == 1 && v.schedule.Knock {
		return v.schedule.KnockRound(), nil
	}
	own := v.cfg.Identity.ID()
	if err := v.holdUntilRefresh(ctx); err != nil {
		return rendezvous.Volley{}, err
	}
	mine := v.forecast(ctx, round)
	signed, err := mine.Sign(v.cfg.Identity.Key, v.presence.Key, v.presence.Session)
	if err != nil {
		return rendezvous.Volley{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, forecastPatience+v.cfg.Timeout)
	defer cancel()
	answer, err := v.client.Foretell(ctx, signed)
	if errors.Is(err, context.DeadlineExceeded) {
		return rendezvous.Volley{}, &failed{PeerLate, fmt.Sprintf("%s made no forecast in time", v.cfg.Peer)}
	}
	if err != nil {
		return rendezvous.Volley{}, v.coordinatorFailed(err)
	}
	theirs, err := answer.Forecast.Open(v.presence.Key, own, v.presence.Session, round)
	if err != nil {
		return rendezvous.Volley{}, &failed{AuthFailed, fmt.Sprintf("the forecast of %s is not valid: %v", v.cfg.Peer, err)}
	}
	v.attested = answer.Attested
	if v.report.PeerNAT == nil {
		v.report.PeerNAT = &NAT{Observations: []predict.Observation{}}
	}
	v.report.PeerNAT.Behavior = theirs.Behavior
	return v.schedule.VolleyRound(own, rendezvous.Forecasts{Own: mine, Peer: theirs, At: answer.At}, v.left), nil
}

// forecastPatience is how long the peer may take for its probes.
const forecastPatience = 5 * time.Second

// holdUntilRefresh waits until the ports should be looked at once more: shortly
// before the first volley, and when a round is over for the peer too, for which
// this side's forecast would have to wait.
func (v *volleys) holdUntilRefresh(ctx context.Context) error {
	at := v.planAt(v.schedule, v.schedule.At, nil).at.Add(-v.schedule.RefreshLead())
	if len(v.report.Rounds) > 0 {
		at = v.plan.at.Add(v.plan.volleyLife())
	}
	if at <= timing.Now() {
		return nil
	}
	err := rest(v.whileCoordinated(ctx), at)
	if lost := v.coordinatorLost(); lost != nil && ctx.Err() == nil {
		return lost
	}
	return err
}

// forecast is what this side's NAT shows now. Where the port of the punch
// stays, nothing needs to be probed again.
func (v *volleys) forecast(ctx context.Context, round int) rendezvous.Forecast {
	local := v.pair.Local
	f := rendezvous.Forecast{Round: round, Behavior: *local.Behavior, Outside: local.Addr, Resets: v.resets}
	s := v.sounding()
	newest := s.seen[len(s.seen)-1]
	if moves(f.Behavior) {
		v.refresh(ctx, s, v.schedule.Delay)
		newest = s.seen[len(s.seen)-1]
		f.Behavior, f.Outside = predict.Classify(s.undisturbed()), newest.Reflexive
		f.Behavior.Filtering = local.Behavior.Filtering
		v.delta = f.Behavior.Ports.Parameters.Delta
		v.report.NAT = &NAT{Behavior: f.Behavior, Observations: slices.Clone(s.seen)}
		v.trace(Predict, "%s appears as %s now", newest.Local, newest.Reflexive)
	}
	made := timing.Now().Add(-time.Since(newest.At)) // by the monotonic clock
	f.Seen = v.cfg.Clock.At(made).Add(v.schedule.Offset(v.cfg.Identity.ID())).UTC()
	return f
}

// carryOut lets a volley leave and follows it. It returns the nominated
// connection, or nil.
func (v *volleys) carryOut(ctx context.Context, volley rendezvous.Volley) (*nominated, error) {
	side := volley.For(v.schedule, v.cfg.Identity.ID())
	if err := v.permit(side); err != nil {
		return nil, err
	}
	v.plan = v.planAt(v.schedule, volley.At, []rendezvous.Pair{v.pair})
	v.left -= volley.SYNs()
	v.aimed = side
	v.note(volley, side)
	runners, err := v.openVolley(side, volley.Round)
	v.runners = runners
	if err != nil {
		v.retireAll(runners)
		return nil, err
	}
	listener := v.listen(side)
	tap := v.openTap(v.plan, runners)
	won, err := v.shoot(ctx, volley, runners, listener)
	if won != nil && !slices.Contains(runners, won.runner) {
		v.runners = append([]*runner{won.runner}, v.runners...)
	}
	v.retireAll(runners)
	if side.Fresh {
		v.discount(runners)
	}
	if listener != nil {
		listener.Close()
	}
	if tap != nil {
		v.keep(tap.Stop())
	}
	v.conclude(runners, won)
	return won, err
}

// permit holds a plan against the dial policy: a peer's forecast may name
// another address than its offer.
func (v *volleys) permit(side predict.Side) error {
	if side.SYNs == 0 {
		return nil
	}
	pair := v.pair
	pair.Remote.Addr = side.Target(0)
	_, err := v.admit([]rendezvous.Pair{pair}, v.attested)
	return err
}

// note writes a round down before it is carried out.
func (v *volleys) note(volley rendezvous.Volley, side predict.Side) {
	peer := volley.SYNs() - volley.SYNsOf(v.schedule, v.cfg.Identity.ID())
	round := Round{
		Strategy: volley.Name, Outcome: "failed", At: pointer(volley.At.UTC()),
		PeerSYNs: &peer, Probability: pointer(volley.Plan.Probability),
	}
	if volley.Gap > 0 {
		round.Gap = pointer(volley.Gap)
		v.report.PredictionGap = round.Gap
	}
	v.report.At, v.report.Probability = round.At, round.Probability
	v.report.Rounds = append(v.report.Rounds, round)
	v.trace(Agree, "round %d, %s: %d SYNs here and %d there, p = %.3g", volley.Round, volley.Name, volley.SYNs()-peer, peer, volley.Plan.Probability)
}

// conclude completes the note.
func (v *volleys) conclude(runners []*runner, won *nominated) {
	round := &v.report.Rounds[len(v.report.Rounds)-1]
	v.resets = 0
	for _, r := range runners {
		round.Attempts += r.called
		round.SYNs += r.sent
		if refused(r.failure) {
			v.resets++
		}
	}
	v.report.SYNsCalled += round.Attempts
	v.report.SYNsOnWire += round.SYNs
	if won != nil {
		round.Outcome = "established"
	}
}

// discount remembers how far a volley's own mappings moved the NAT's next port.
func (v *volleys) discount(runners []*runner) {
	took := 0
	for _, r := range runners {
		took += min(r.called, 1) // repeated in earnest, a SYN finds its mapping
	}
	if s := v.sounding(); s != nil && v.delta != 0 {
		s.own = append(s.own, stride{len(s.seen), took * v.delta})
	}
}

// sounding is that of the family of the planned pair.
func (v *volleys) sounding() *sounding {
	is4 := v.pair.Local.Addr.Addr().Is4()
	for _, s := range v.soundings {
		if s.host.Is4() == is4 {
			return s
		}
	}
	return nil
}

// keep adds a round's packets to the meeting's capture.
func (v *volleys) keep(c Capture) {
	if v.capture == nil {
		v.capture = &c
		return
	}
	v.capture.Packets = append(v.capture.Packets, c.Packets...)
	v.capture.Dropped += c.Dropped
}

// openVolley prepares the sockets of a volley, in the order of the plan.
func (v *volleys) openVolley(side predict.Side, round int) (runners []*runner, err error) {
	if side.SYNs == 0 {
		return nil, nil
	}
	host, err := sourceAddress(side.Target(0))
	if err != nil {
		return nil, err
	}
	o := SocketOptions{SYNCount: 1}
	for i := range side.SYNs {
		var socket Socket
		if side.Fresh {
			socket, err = v.freshSocket(host, o, side.Odd)
		} else {
			socket, err = v.cfg.Network.Open(v.local(host, false), o)
		}
		if err != nil {
			return runners, err
		}
		pair := v.pair
		pair.SYNs = 1
		runners = append(runners, &runner{pair: pair, remote: side.Target(i), socket: socket, options: o, round: round})
	}
	v.report.Local, v.report.Remote = pointer(runners[0].socket.Local()), pointer(runners[0].remote)
	return runners, nil
}

// shoot lets the SYNs leave at the instant and authenticates what stands.
func (v *volleys) shoot(ctx context.Context, volley rendezvous.Volley, runners []*runner, listener net.Listener) (*nominated, error) {
	v.cfg.Clock.Disturb(v.cfg.Disturb)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	won := make(chan *nominated, 1)
	fired := make(chan struct{})
	go func() {
		won <- v.race(ctx, v.plan, len(runners)+mostAccepted, func(ctx context.Context) <-chan *runner {
			return v.followVolley(ctx, runners, listener, fired)
		})
	}()
	pad := v.cfg.Network.Launchpad(launchLead)
	v.report.LaunchStep = pointer(pad.Step())
	var err error
	if volley.Earnest != "" {
		err = v.fireLow(ctx, pad, runners, volley.Earnest == v.cfg.Identity.ID())
	} else {
		err = v.fire(ctx, v.plan, pad, v.plan.at.Add(v.cfg.Late), runners...)
	}
	if err != nil {
		cancel()
	}
	close(fired)
	if closing := pad.Close(); closing != nil {
		v.trace(Launch, "the thread was not given back as it was: %v", closing)
	}
	if first := <-won; first != nil {
		return first, nil // whatever failed beside it
	}
	return nil, err
}
