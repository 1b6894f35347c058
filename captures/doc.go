// Package captures answers the question WHAT HAPPENED: from packets alone, seen
// at one or several places, how was a TCP connection opened, and what proves it?
//
// Read next: reader.go (files in), writer.go (files out), walk.go and decode.go
// (frames to segments, quickly and by gopacket), shard.go (segments to openings,
// in bounded memory), feed.go (several processors), choose.go (what is judged in
// full and listed), judge.go (what each verdict means
// and what proves it), origin.go (who sent a RST or an ICMP error), correlate.go
// and stream.go (several vantage points of one exchange), offset.go (their
// clocks), nat.go (what was rewritten, and what leaked), hide.go (captures
// without addresses).
//
// Hazards: captures come from anywhere. Nothing here panics, hangs or allocates
// by a length that a file merely claims (the bounds are constants in reader.go
// and shard.go). A verdict is what the packets prove at the place where they
// were taken; another place may know more, and then the evidence says so.
package captures
