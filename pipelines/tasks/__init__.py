"""Synthetic tasks whose best possible policy can be computed."""
