"""Answers of a relay server to a file of questions."""
