"""Talks to a relay server: finds or starts it, asks it, and says in plain words what went wrong."""
