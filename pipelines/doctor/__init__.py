"""`relayllm doctor`: finds out whether a machine or a cluster can do a run, and says what to fix."""
