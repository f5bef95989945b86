"""Asks the hub for models and data sets: `python -m pipelines.doctor.hub_probe model=NAME data=NAME=CONFIG`."""

from __future__ import annotations

import os
import sys

from pipelines.doctor.children import tell

_TIMEOUT_S = 15.0


def main(wanted: list[str]) -> None:
    """Print for each name whether it is in the cache, and the error if the hub does not give it."""
    for one in wanted:
        kind, name, *config = one.split("=")
        tell(**{one: _model(name) if kind == "model" else _data(name, config[0] or None)})


def _model(name: str) -> dict[str, object]:
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    cached = isinstance(try_to_load_from_cache(name, "config.json"), str)
    if constants.HF_HUB_OFFLINE:
        return {"cached": cached} | ({} if cached else {"error": "offline"})
    try:
        HfApi().model_info(name, timeout=_TIMEOUT_S)
    except Exception as error:  # whatever the client raises, this is what the run would see
        return {"cached": cached, "error": _said(error)}
    return {"cached": cached}


def _data(name: str, config: str | None) -> dict[str, object]:
    """Load a data set's description as the run does. Offline, this works if the data set is in the cache."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from datasets import load_dataset_builder

    try:
        load_dataset_builder(name, config)
    except Exception as error:
        return {"error": _said(error)}
    return {}


def _said(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1:])
