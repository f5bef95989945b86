"""Relay decoding: the command grammar, one sequence as a state machine, the asynchronous loop."""
