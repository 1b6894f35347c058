package lab

import (
	"context"
	"time"
)

// RunStrategies carries out the meetings of a table of strategies, as many at a
// time as RunMatrix does. It must be called in the supervisor. done, if not nil,
// is told of each cell that has ended, one at a time.
func RunStrategies(ctx context.Context, config StrategyConfig, done func(StrategyCell)) (Strategies, error) {
	started := time.Now()
	list := config.meetings()
	cells, err := runPairings(ctx, config.pairings(), config.Parallel, func(i int, cell MatrixCell) {
		if done != nil {
			done(strategyCell(list[i], cell))
		}
	})
	if err != nil {
		return Strategies{}, err
	}
	return config.table(cells, time.Since(started)), nil
}
