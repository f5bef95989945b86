"""From problems to graded trajectories."""
