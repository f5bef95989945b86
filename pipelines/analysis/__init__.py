"""Comparisons of systems, computed from recorded answers alone."""
