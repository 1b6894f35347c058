package punch

import (
	"testing"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

func TestOfferTellsPortAssignmentOnlyWhereItForetells(t *testing.T) {
	ports := predict.Ports{Model: nat.Block, Posterior: []predict.Model{{Model: nat.Block, Probability: 1}}, Seen: []uint16{1, 2}}
	for mapping, want := range map[nat.Mapping]int{nat.EndpointIndependent: 0, nat.AddressAndPortDependent: 1} {
		got := brief(predict.Behavior{Mapping: mapping, Ports: ports})
		if len(got.Ports.Posterior) != want || got.Ports.Model != nat.Block {
			t.Errorf("%v: got %+v, want %d models", mapping, got.Ports, want)
		}
	}
}
