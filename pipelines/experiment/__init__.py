"""The experiment file of a run: its schema, how it is loaded, and how its errors are reported."""
