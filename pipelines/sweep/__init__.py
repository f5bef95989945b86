"""Sweeps: trials of one experiment with other values, searched for the best relay student."""
