"""What a run shows in a terminal or in a job's log."""
