package predict

// Classify deduces a behaviour from observations.
func Classify(obs []Observation) Behavior { return Behavior{} }
