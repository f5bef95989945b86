"""What a person at a terminal, or a reader of a job's log, gets to see of a run."""
