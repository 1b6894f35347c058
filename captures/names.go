package captures

import (
	"fmt"
	"slices"
)

// nameOf is the name of an enum's value; what has none is unknown.
func nameOf[T ~uint8](names []string, value T) string {
	if int(value) < len(names) {
		return names[value]
	}
	return names[0]
}

func parseName[T ~uint8](names []string, value *T, text []byte) error {
	i := slices.Index(names, string(text))
	if i < 0 {
		return fmt.Errorf("%q is none of %q", text, names)
	}
	*value = T(i)
	return nil
}
