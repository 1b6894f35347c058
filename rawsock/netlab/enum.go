package netlab

import "fmt"

func enumName[E ~int](e E, names []string) string {
	if e < 0 || int(e) >= len(names) {
		return fmt.Sprintf("%T(%d)", e, int(e))
	}
	return names[e]
}

func marshalEnum[E ~int](e E, names []string) ([]byte, error) {
	if e < 0 || int(e) >= len(names) {
		return nil, fmt.Errorf("marshal %T: no name for %d", e, int(e))
	}
	return []byte(names[e]), nil
}

func unmarshalEnum[E ~int](e *E, text []byte, names []string) error {
	for i, name := range names {
		if name == string(text) {
			*e = E(i)
			return nil
		}
	}
	return fmt.Errorf("unmarshal %T: unknown word %q", *e, text)
}

func (k DeviceKind) String() string               { return enumName(k, deviceKindNames[:]) }
func (k DeviceKind) MarshalText() ([]byte, error) { return marshalEnum(k, deviceKindNames[:]) }
func (k *DeviceKind) UnmarshalText(b []byte) error {
	return unmarshalEnum(k, b, deviceKindNames[:])
}

func (d Direction) String() string               { return enumName(d, directionNames[:]) }
func (d Direction) MarshalText() ([]byte, error) { return marshalEnum(d, directionNames[:]) }
func (d *Direction) UnmarshalText(b []byte) error {
	return unmarshalEnum(d, b, directionNames[:])
}

func (e Event) String() string                { return enumName(e, eventNames[:]) }
func (e Event) MarshalText() ([]byte, error)  { return marshalEnum(e, eventNames[:]) }
func (e *Event) UnmarshalText(b []byte) error { return unmarshalEnum(e, b, eventNames[:]) }
