package timing

import (
	"errors"
	"testing"
	"time"
)

func TestServersKnownToSmear(t *testing.T) {
	for server, want := range map[string]bool{
		"time.google.com": true, "TIME.Google.com.": true, "time4.google.com:123": true, "time.aws.com": true, "time5.facebook.com": true,
		"time.android.com": true, "216.239.35.4": true, "[2001:4860:4806:8::]:123": true, "169.254.169.123": true,
		"pool.ntp.org": false, "0.amazon.pool.ntp.org": false, "www.google.com": false, "timex.google.com": false, "time.google.com.example": false,
		"time.apple.com": false, "192.0.2.1": false, "": false,
	} {
		if got := smears(server); got != want {
			t.Errorf("%q: got %v, want %v", server, got, want)
		}
	}
}

func TestSmearedAndUnsmearedServersAreNeverMixed(t *testing.T) {
	smeared := func(name string) answer {
		return answer{name: name, samples: []Sample{sampleWith(300*ms, 2*ms)}, leap: leapSmeared}
	}
	utc := func(name string) answer {
		return answer{name: name, samples: []Sample{sampleWith(0, 2*ms)}, leap: leapStepped}
	}
	coordinator := answerWith("coordinator", sampleWith(0, 900*ms))
	silent := answer{name: "silent", err: errors.New("no reply"), leap: leapStepped}
	for _, c := range []struct {
		name    string
		answers []answer
		want    string
		offset  time.Duration
	}{
		{"one smears", []answer{utc("a"), smeared("g"), utc("b")}, "truechimer smeared truechimer", 0},
		{"one does not", []answer{smeared("g"), utc("a"), smeared("h")}, "truechimer unsmeared truechimer", 300 * ms},
		{"UTC wins a tie", []answer{smeared("g"), utc("a")}, "smeared truechimer", 0},
		{"all smear", []answer{smeared("g"), smeared("h")}, "truechimer truechimer", 300 * ms},
		{"who is silent does not count", []answer{smeared("g"), silent}, "truechimer unreachable", 300 * ms},
		{"the coordinator goes with either", []answer{smeared("g"), coordinator}, "truechimer truechimer", 300 * ms},
	} {
		e, err := judge(c.answers, 0)
		if err != nil || verdicts(e) != c.want || (e.Offset-c.offset).Abs() > ms {
			t.Errorf("%s: got %s, %v, %v, want %s, %v", c.name, verdicts(e), e.Offset, err, c.want, c.offset)
		}
		for _, s := range e.Servers {
			if (s.Verdict == Smeared || s.Verdict == Unsmeared) && (s.Error == nil || s.Offset == nil) {
				t.Errorf("%s: %s is left out without a reason or its offset", c.name, s.Name)
			}
		}
	}
}
