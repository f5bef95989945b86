"""Base models that come with this package. Each has the name that the cache would give it, and the files of pretraining."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def shipped_model(name: str) -> Path | None:
    """Return the folder of a shipped model in Hugging Face format, None if no model of that name is shipped."""
    folder = _FOLDER / name
    return folder if (folder / "config.json").is_file() else None
