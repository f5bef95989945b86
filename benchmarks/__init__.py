"""Benchmarks: one file for each question. All use the common code in `harness.py`."""
