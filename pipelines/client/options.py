"""Options that the commands of clients share."""

from __future__ import annotations

import os

import click

target = click.argument("target")
key_variable = click.option(
    "--api-key-env",
    default="RELAYLLM_API_KEY",
    show_default=True,
    help="Environment variable that holds the API key, if the server wants one.",
)


def api_key(variable: str) -> str | None:
    """Return the API key that the environment holds, or None."""
    return os.environ.get(variable) or None
