"""A chat with a relay student in a terminal."""
