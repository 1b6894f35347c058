package predict

// NewPlan divides budget SYNs between a and b so that the hit is likeliest.
func NewPlan(a, b Behavior, budget int) Plan { return Plan{} }

// Hit is the probability that a pair with these behaviours hits within budget
// SYNs of both together.
func Hit(a, b Behavior, budget int) float64 { return NewPlan(a, b, budget).Probability }
