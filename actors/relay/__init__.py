"""Relay decoding: the command grammar, the state machine of one sequence, and the asynchronous loop."""
