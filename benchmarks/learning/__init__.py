"""Common code of the learner's benchmarks: a random model, trajectories with long-tailed lengths, and the contestants."""
