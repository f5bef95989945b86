"""Runs as jobs of a Ray cluster: submitted, looked at, stopped and resumed by name."""
