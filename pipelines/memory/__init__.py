"""Estimates the memory that a run needs before anything starts, and checks whether the machines have it."""
