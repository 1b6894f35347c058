package probe

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

// conclude puts together what the tests found.
func (r *run) conclude() Report {
	b := behaviorOf(r.ports.seen)
	rep := Report{
		Translated: b.Translated, Mapping: b.Mapping,
		Ports: b.Ports, PooledAddresses: b.PooledAddresses,
		Local: r.ports.local, Reflexive: r.ports.reflexive,
		Observations: []predict.Observation{}, Unknown: []Unknown{}, Unreachable: []Failure{},
		Connections: int(r.count.Load()),
	}
	for _, h := range r.ports.seen {
		rep.Observations = append(rep.Observations, h.Observation)
	}
	if rep.Mapping.Dependent() && r.ports.repeated != nil && *r.ports.repeated {
		rep.Mapping = nat.PerConnection
	}
	r.judge(&rep, time.Now())
	rep.Hairpinning = r.hairpinning(rep)
	rep.PayloadRewritten = rewritten(r.ports.seen)
	rep.Pooling = r.pooling()
	r.foretell(&rep)
	r.name(&rep)
	rep.Elapsed = time.Since(r.began)
	return rep
}

// judge fills in what the dial-backs tell by now of a NAT that maps so.
func (r *run) judge(rep *Report, now time.Time) {
	f := r.filter // a copy: judging again is no worse
	f.port, f.address = f.soFar(f.port, now), f.soFar(f.address, now)
	rep.Filtering = f.filtering()
	rep.SimultaneousOpen, rep.MappingSurvivesReset = r.crossing.letIn, r.reset.survives
	rep.Unsolicited = r.unsolicited(f, *rep)
	r.doubt(rep)
}

// doubt takes back what was found with a mapping that only a STUN server saw,
// where it may have been another one towards the coordinator, or where the
// connection to that server kept it open. And where all is let in without a
// translator, there is no mapping to survive.
func (r *run) doubt(rep *Report) {
	open := rep.Filtering == nat.FilterEndpointIndependent
	if err := r.crossing.unseen; err != nil && rep.Mapping != nat.EndpointIndependent {
		rep.SimultaneousOpen, r.crossing.why = nil, err.Error()
	}
	if err := r.reset.unseen; err != nil && (rep.Mapping != nat.EndpointIndependent || open) {
		rep.MappingSurvivesReset, r.reset.why = nil, err.Error()
	}
	if open && untranslated(*rep) {
		rep.MappingSurvivesReset, r.reset.why = nil, ""
	}
}

func untranslated(r Report) bool { return r.Translated != nil && !*r.Translated }

// unsolicited takes the answer to the SYN that was refused: from another
// address, or from another port; or, where none is refused, once the mapping is
// gone.
func (r *run) unsolicited(f filterResult, rep Report) nat.Unsolicited {
	if f.stopped && r.seesPackets() {
		f.occupied = new(true)
	}
	if rep.Mapping != nat.EndpointIndependent {
		f.occupied = nil // another destination has another mapping anyway
	}
	for _, a := range []reply{f.port, f.address, f.closed} {
		if u := f.unsolicited(a); u != nat.UnsolicitedUnknown {
			return u
		}
	}
	if rep.Filtering == nat.FilterEndpointIndependent && !untranslated(rep) && r.reset.unseen == nil {
		return f.unsolicited(r.reset.after)
	}
	return nat.UnsolicitedUnknown
}

// seesPackets reports whether the partner has seen a SYN of ours at all.
func (r *run) seesPackets() bool {
	return r.crossing.seen || r.reset.seen
}

func (r *run) hairpinning(rep Report) *bool {
	h := &r.hairpin
	switch {
	case !h.tried, rep.Translated == nil, !*rep.Translated:
		return nil
	case h.hit:
		return new(true)
	case rep.Mapping == nat.EndpointIndependent, rep.Filtering == nat.FilterEndpointIndependent:
		return new(false)
	}
	return nil
}

// rewritten compares the two forms in which servers told addresses: the
// XOR-MAPPED-ADDRESS is made so that no gateway recognises it.
func rewritten(list []Held) *bool {
	var result *bool
	for _, h := range list {
		if h.Plain.IsValid() {
			result = new(result != nil && *result || h.Plain != h.Reflexive)
		}
	}
	return result
}

// enoughMappings is how many mappings must share an address before it is more
// than luck: of two addresses 128 draws to one are not all the same.
const enoughMappings = 8

// pooling counts mappings, not observations: a mapping that is used again keeps
// its address in any NAT.
func (r *run) pooling() nat.Pooling {
	type pair struct{ local, outside netip.AddrPort }
	mappings := map[pair]bool{}
	addresses := map[netip.Addr]bool{}
	for _, h := range r.ports.seen {
		mappings[pair{h.Local, h.Reflexive}] = true
		addresses[h.Reflexive.Addr()] = true
	}
	switch {
	case len(addresses) > 1:
		return nat.Arbitrary
	case len(mappings) >= enoughMappings:
		return nat.Paired
	}
	return nat.PoolingUnknown
}

// mostForetold is how many next ports a report lists.
const mostForetold = 8

func (r *run) foretell(rep *Report) {
	if len(r.ports.seen) == 0 {
		return
	}
	last := r.ports.seen[len(r.ports.seen)-1].Reflexive
	if !rep.Mapping.Dependent() {
		last = rep.Reflexive
	}
	for _, c := range predict.Candidates(predict.Party{Behavior: rep.Behavior(), Outside: last}, mostForetold) {
		rep.Ports.Next = append(rep.Ports.Next, predict.PortProbability{Port: c.Addr.Port(), Probability: c.Probability})
	}
}

// name lists why what is null is null, and which servers did not answer.
func (r *run) name(rep *Report) {
	why := rep.why
	why("mapping", rep.Mapping == nat.MappingUnknown, "only one server endpoint answered")
	r.nameInbound(rep)
	why("hairpinning", rep.Hairpinning == nil, r.hairpin.why, r.whyNoHairpin(*rep))
	why("pooling", rep.Pooling == nat.PoolingUnknown, "too few mappings were seen")
	why("alg", rep.PayloadRewritten == nil, "the servers do not send MAPPED-ADDRESS")
	why("ports", rep.Ports.Model == nat.PortsUnknown, "no way of assigning ports is likely enough")
	for _, err := range r.failed {
		if f, ok := errors.AsType[*ServerError](err); ok {
			rep.Unreachable = append(rep.Unreachable, Failure{f.Server, f.Err.Error()})
		}
	}
}

// nameInbound does so of what the dial-backs tell.
func (r *run) nameInbound(rep *Report) {
	untested, unreset := brief, noTranslator
	if !untranslated(*rep) {
		unreset = brief
	}
	if r.incoming {
		untested, unreset = unfinished, unfinished
	}
	rep.why("filtering", rep.Filtering == nat.FilteringUnknown, r.filter.why, r.whyNoFilter())
	rep.why("unsolicited", rep.Unsolicited == nat.UnsolicitedUnknown, r.filter.why, r.whyNoAnswer())
	rep.why("simultaneous_open", rep.SimultaneousOpen == nil, r.crossing.why, untested)
	rep.why("mapping_survives_reset", rep.MappingSurvivesReset == nil, r.reset.why, unreset)
}

// why says for which of several reasons a field is unknown, if it is.
func (rep *Report) why(field string, unknown bool, reasons ...string) {
	if i := slices.IndexFunc(reasons, func(s string) bool { return s != "" }); unknown && i >= 0 {
		rep.Unknown = append(rep.Unknown, Unknown{field, reasons[i]})
	}
}

// Reasons that several tests share.
const (
	brief        = "the probe was a brief one"
	noTranslator = "there is no translator"
)

func (r *run) whyNoFilter() string {
	switch {
	case r.pending(), r.incoming && !r.filter.tried:
		return unfinished
	case r.filter.port.in():
		return "it takes a coordinator with a second address"
	}
	return "the coordinator could not dial back"
}

// pending says that an answer to a dial-back may still come.
func (r *run) pending() bool {
	return r.filter.tried && !(r.filter.port.over && r.filter.address.over)
}

func (r *run) whyNoAnswer() string {
	switch {
	case r.cfg.Hold < DefaultHold, r.pending():
		return "silence was not waited for long enough: a NAT may hold a SYN for 6 s"
	case r.filter.port.in():
		return "no SYN was refused"
	}
	return "the coordinator could not dial back"
}

func (r *run) whyNoHairpin(rep Report) string {
	switch {
	case r.cfg.Brief:
		return brief
	case untranslated(rep):
		return noTranslator
	}
	return "the mapping towards the NAT itself cannot be foretold"
}
