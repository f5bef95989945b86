"""The stages of a run, each resumable and each reading and writing under one run directory."""
