"""Starts relay servers: of a finished run, of a server's file, or as a Serve application."""
