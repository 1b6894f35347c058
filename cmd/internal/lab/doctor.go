package lab

// Check is one thing that the lab needs or can use.
type Check struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"` // without it there is no lab
	Found    string `json:"found"`    // one sentence
	Mend     string `json:"mend"`     // a command; "" where nothing is to mend
}

// Ready says whether a lab can run with what the checks found.
func Ready(checks []Check) bool {
	for _, c := range checks {
		if c.Required && !c.OK {
			return false
		}
	}
	return len(checks) > 0
}

// Missing is the check of a machine that does not allow the lab at all.
func Missing(u *Unavailable) []Check {
	return []Check{{Name: "namespaces", Required: true, Found: u.Error(), Mend: u.Mend}}
}
