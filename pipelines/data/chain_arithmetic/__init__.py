"""Chain arithmetic, the synthetic task whose best possible policy is known."""
