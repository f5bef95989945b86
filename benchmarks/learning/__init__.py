"""What the benchmarks of the learner share: a random model, long-tailed trajectories, contestants."""
