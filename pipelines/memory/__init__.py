"""What a run takes of memory, estimated before anything starts, and whether the machines have it."""
