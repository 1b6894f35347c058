package predict

// Candidates ranks the at most n likeliest places of the next mapping.
func Candidates(b Behavior, obs []Observation, n int) []Candidate { return nil }
