"""What a run shows of itself while it goes on: metrics through Ray's Prometheus endpoint."""
