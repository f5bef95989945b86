"""Ray actors, and the domain code that each of them wraps."""
