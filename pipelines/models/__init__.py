"""The base models of a run, and where their weights come from."""
