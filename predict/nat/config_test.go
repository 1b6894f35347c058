package nat

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func TestGrammarSetsTheBehaviour(t *testing.T) {
	for _, test := range []struct {
		key, value string
		want       Config
	}{
		{"mapping", "eim", Config{Mapping: EndpointIndependent}},
		{"mapping", "adm", Config{Mapping: AddressDependent}},
		{"mapping", "apdm", Config{Mapping: AddressAndPortDependent}},
		{"mapping", "connection", Config{Mapping: PerConnection}},
		{"filtering", "eif", Config{Filtering: FilterEndpointIndependent}},
		{"filtering", "adf", Config{Filtering: FilterAddressDependent}},
		{"filtering", "apdf", Config{Filtering: FilterAddressAndPortDependent}},
		{"ports", "preserve", Config{Ports: Preserving}},
		{"ports", "sequential:-2", Config{Ports: Sequential, Delta: -2}},
		{"ports", "lowest", Config{Ports: Lowest}},
		{"ports", "random", Config{Ports: Random}},
		{"ports", "random:50001-65535", Config{Ports: Random, Low: 50001, High: 65535}},
		{"ports", "band:251", Config{Ports: Band, Width: 251}},
		{"ports", "block:512", Config{Ports: Block, Width: 512}},
		{"ports", "parity", Config{Ports: Parity}},
		{"pool", "paired", Config{Pooling: Paired}},
		{"pool", "paired:2", Config{Pooling: Paired, PoolSize: 2}},
		{"pool", "arbitrary:4", Config{Pooling: Arbitrary, PoolSize: 4}},
		{"unsolicited", "drop", Config{Unsolicited: Drop}},
		{"unsolicited", "rst", Config{Unsolicited: Reset}},
		{"unsolicited", "icmp", Config{Unsolicited: Unreachable}},
		{"unsolicited", "hold", Config{Unsolicited: Hold}},
		{"unsolicited", "poison", Config{Unsolicited: Poison}},
		{"crossing", "accept", Config{Crossing: CrossingAccept}},
		{"crossing", "drop", Config{Crossing: CrossingDrop}},
		{"crossing", "rst", Config{Crossing: CrossingReset}},
		{"rst", "kill", Config{Resets: ResetKill}},
		{"rst", "keep", Config{Resets: ResetKeep}},
		{"rst", "swallow", Config{Resets: ResetSwallow}},
		{"rst", "drop-next", Config{Resets: ResetDropNext}},
		{"icmp", "ignore", Config{Errors: ErrorsIgnore}},
		{"icmp", "kill", Config{Errors: ErrorsKill}},
		{"seq", "none", Config{Sequence: SequenceNone}},
		{"seq", "window", Config{Sequence: SequenceWindow}},
		{"seq", "rewrite", Config{Sequence: SequenceRewrite}},
		{"hairpin", "yes", Config{Hairpin: true}},
		{"hairpin", "no", Config{}},
		{"overload", "yes", Config{Overload: true}},
		{"overload", "no", Config{}},
		{"syn-rate", "50", Config{SYNRate: 50}},
		{"quota", "16", Config{Quota: 16}},
		{"churn", "50", Config{Churn: 50}},
		{"churn", "50:4", Config{Churn: 50, ChurnBatch: 4}},
		{"timeout-syn", "30s", Config{Transitory: 30 * time.Second}},
		{"timeout-established", "1h", Config{Established: time.Hour}},
		{"ttl", "rewrite:64", Config{RewriteTTL: 64}},
		{"ttl", "keep", Config{}},
		{"options", "strip", Config{StripOptions: true}},
		{"options", "keep", Config{}},
		{"mss", "clamp:1400", Config{ClampMSS: 1400}},
		{"mss", "keep", Config{}},
	} {
		var got Config
		if err := got.Set(test.key, test.value); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s=%s: got %+v, %v, want %+v", test.key, test.value, got, err, test.want)
		}
	}
}

func TestGrammarRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, test := range [][2]string{
		{"colour", "red"}, {"mapping", "unknown"}, {"mapping", ""}, {"mapping", "eim:2"}, {"ports", "sequential"},
		{"ports", "sequential:0"}, {"ports", "sequential:x"}, {"ports", "random:9-3"}, {"ports", "random:0-3"},
		{"ports", "band:0"}, {"ports", "band"}, {"pool", "arbitrary:0"}, {"pool", "arbitrary:x"}, {"syn-rate", "-1"},
		{"quota", "many"}, {"churn", "-1"}, {"churn", "NaN"}, {"churn", "5:0"}, {"timeout-syn", "30"}, {"timeout-syn", "-3s"},
		{"ttl", "rewrite:0"}, {"ttl", "rewrite:256"}, {"mss", "clamp:9"}, {"hairpin", "true"}, {"rst", "killed"},
	} {
		before := Config{Quota: 3}
		c := before
		err := c.Set(test[0], test[1])
		bad, ok := errors.AsType[*BadSetting](err)
		if !ok || bad.Key != test[0] || len(bad.Valid) == 0 || !reflect.DeepEqual(c, before) {
			t.Errorf("%s=%s: got %v, %+v, want a bad setting and no change", test[0], test[1], err, c)
		}
	}
}

func TestEveryKeyHasForms(t *testing.T) {
	for _, key := range Keys() {
		if len(Forms(key)) == 0 {
			t.Errorf("%s takes nothing", key)
		}
	}
	if Forms("colour") != nil {
		t.Error("an unknown key has forms")
	}
}

func TestConfigurationThatIsNoBehaviourIsRefused(t *testing.T) {
	one := []netip.Addr{external}
	for name, c := range map[string]Config{
		"no address":          {},
		"IPv6 translation":    {External: []netip.Addr{netip.MustParseAddr("2001:db8::1")}},
		"firewall translates": {Firewall: true, External: one},
		"partial mapping":     {External: one, Mapping: AddressOrPort},
		"empty range":         {External: one, Low: 10, High: 9},
		"unknown word":        {External: one, Unsolicited: 99},
		"small pool":          {External: one, PoolSize: 2},
		"wide band":           {External: one, Ports: Band, Low: 1, High: 9, Width: 10},
		"negative limit":      {External: one, Quota: -1},
		"negative time":       {External: one, Closed: -1},
		"endless batches":     {External: one, ChurnBatch: 1e9},
		"no data":             {External: one, ClampMSS: 1},
	} {
		if _, err := NewTranslator(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewAllocator(Config{Firewall: true}); err == nil {
		t.Error("a firewall got an allocator")
	}
}
