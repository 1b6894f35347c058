package timing

import (
	"net/netip"
	"slices"
	"strings"
)

// leapStyle is what a server does with leap seconds. Near one, servers that
// smear are up to a second apart from those that do not.
type leapStyle int

const (
	leapUnknown leapStyle = iota // no NTP server, goes with either
	leapStepped                  // UTC
	leapSmeared
)

// smearing are the domains whose public servers are documented to smear:
// developers.google.com/time/smear, "Public NTP" of engineering.fb.com, and
// the Amazon Time Sync Service.
var smearing = []string{"time.google.com", "time.android.com", "time.facebook.com", "time.aws.com"}

// numbered are the same providers' single servers, time1.google.com and so on.
var numbered = []string{"google.com", "facebook.com"}

// smearingNetworks are the same services by address.
var smearingNetworks = []netip.Prefix{
	netip.MustParsePrefix("216.239.35.0/24"),     // time.google.com
	netip.MustParsePrefix("2001:4860:4806::/48"), // time.google.com
	netip.MustParsePrefix("169.254.169.123/32"),  // inside Amazon EC2
	netip.MustParsePrefix("fd00:ec2::123/128"),   // inside Amazon EC2
}

// smears reports whether a server is known to smear leap seconds, by its name
// or address.
func smears(server string) bool {
	host, _, err := splitServer(server)
	if err != nil {
		return false
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap().WithZone("")
		return slices.ContainsFunc(smearingNetworks, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if slices.ContainsFunc(smearing, func(d string) bool { return host == d || strings.HasSuffix(host, "."+d) }) {
		return true
	}
	first, domain, _ := strings.Cut(host, ".")
	digit := strings.TrimPrefix(first, "time")
	return slices.Contains(numbered, domain) && len(digit) == 1 && digit[0] >= '0' && digit[0] <= '9'
}

// smearReference is the first octet of the reference identifier by which ntpd
// says that it is smearing just now (its documentation, "Leap Second
// Smearing").
const smearReference = 254

// otherTimescale names the verdict of the smaller of the two groups of servers
// that answered and must not be mixed, or VerdictUnknown where there is but
// one group. UTC wins a tie.
func otherTimescale(answers []answer, said []*filtered) Verdict {
	var stepped, smeared int
	for i, a := range answers {
		switch {
		case said[i] == nil:
		case a.leap == leapStepped:
			stepped++
		case a.leap == leapSmeared:
			smeared++
		}
	}
	switch {
	case stepped == 0 || smeared == 0:
		return VerdictUnknown
	case smeared > stepped:
		return Unsmeared
	}
	return Smeared
}

// is reports whether the answer is of the group that a verdict of
// otherTimescale names.
func (l leapStyle) is(v Verdict) bool {
	return v == Smeared && l == leapSmeared || v == Unsmeared && l == leapStepped
}

// explanation is said of a server that is left out for its timescale.
func (v Verdict) explanation() string {
	if v == Smeared {
		return "left out: it smears leap seconds and the other servers do not"
	}
	return "left out: it does not smear leap seconds and most of the other servers do"
}
