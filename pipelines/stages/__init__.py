"""The stages of a run. Each can be resumed, and reads and writes in one run directory."""
