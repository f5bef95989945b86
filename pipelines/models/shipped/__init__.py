"""Base models that come with this package, by the name that the cache would give them: each holds what pretraining makes."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def shipped_model(name: str) -> Path | None:
    """Return the folder of a shipped model in Hugging Face format, None if no model of that name is shipped."""
    folder = _FOLDER / name
    return folder if (folder / "config.json").is_file() else None
