package punch

import "tcppunch/cmd/internal/rendezvous"

// A host that has no socket for a SYN answers with a reset, and its kernel
// sends that with TTL 64. Sockets that send with TTL 255 and drop what arrives
// with less than 192 (IP_MINTTL) therefore hear the peer's SYN and not its
// host's resets, whichever side is first. It needs no privilege, but both
// sides.
const (
	immuneTTL    = 255
	immuneMinTTL = 192 // above every usual initial TTL but 255, and 63 hops below that
)

// immune says that a pair uses this: where both hosts can, and where no
// translator is on the path, whose resets the sockets ought to hear. A listener
// answers with an ordinary TTL, which such a socket would not hear.
func (p plan) immune(pair rendezvous.Pair) bool {
	return p.minTTL && p.strategy != rendezvous.Listen && p.strategy != rendezvous.Reverse && (pair.Remote.Kind == rendezvous.Host || untranslated(pair.Local) && untranslated(pair.Remote))
}

func untranslated(c rendezvous.Candidate) bool {
	return c.Behavior != nil && c.Behavior.Translated != nil && !*c.Behavior.Translated
}
