package lab

import "time"

// Demonstration is what `tcppunch lab` alone shows: one meeting of two clients
// behind two Linux NATs.
type Demonstration struct {
	Delay        time.Duration // one way between any two hosts
	SkewA, SkewB time.Duration // how wrong each client's clock is
	Write        string        // pcapng file of the exchange; "": none
	HTML         string        // report; "": none
}

// AsExpected says whether a meeting of two Linux NATs ended as it must: with a
// connection by simultaneous open, proven by the packets. Without any delay the
// SYNs have no time to cross, and every connection will do.
func AsExpected(d Document) bool {
	for _, t := range d.Trials {
		if t.Established && (d.Delay == 0 || t.Verdict != nil && *t.Verdict == "simultaneous-open") {
			return true
		}
	}
	return false
}
