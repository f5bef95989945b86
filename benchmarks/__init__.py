"""Benchmarks: one file for each question, over one frame (`harness.py`)."""
