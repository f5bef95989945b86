"""Turns problems into graded trajectories."""
