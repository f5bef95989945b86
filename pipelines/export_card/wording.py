"""How a model card names models and data. No path of this machine stands in it."""

from __future__ import annotations

from pathlib import Path

from pipelines.data.benchmarks import BENCHMARKS
from pipelines.data.settings import BenchmarkSource, ChainArithmeticSource, SourceSettings
from pipelines.experiment.model_paths import is_hub_name
from pipelines.experiment.models import ModelSettings


def hub_name(model: ModelSettings) -> str | None:
    """Return a base model's name on the Hugging Face hub, None if it comes from a folder or from pretraining."""
    if model.path is None or not is_hub_name(model.path) or "/" not in model.path or Path(model.path).is_dir():
        return None
    return model.path


def model_phrase(model: ModelSettings) -> str:
    """Return a base model in words, in Markdown."""
    if (name := hub_name(model)) is not None:
        return f"[{name}](https://huggingface.co/{name})"
    if model.path is not None:
        return f"`{Path(model.path).name}`, a local folder"
    if (made := model.pretrain) is not None:
        shape = made.architecture
        size = f"{shape.layers} layers, hidden size {shape.hidden_size}"
        return (
            f"a tiny Qwen3 ({size}), trained from scratch on chain arithmetic in {made.steps} steps, seed {made.seed}"
        )
    given = model.model_dump(mode="json", exclude_none=True)
    return ", ".join(f"{key} `{value}`" for key, value in given.items() if "key" not in key)


def data_phrase(source: SourceSettings) -> str:
    """Return a source of problems in words, in Markdown."""
    if isinstance(source, ChainArithmeticSource):
        counts = ", ".join(f"{count} {kind.value}" for kind, count in source.counts.items() if count)
        words = f"chain arithmetic, a synthetic task ({counts}; {' or '.join(map(str, source.lengths))} operations)"
    elif isinstance(source, BenchmarkSource):
        words = f"{source.name.value} ([{hub_data(source)}](https://huggingface.co/datasets/{hub_data(source)}))"
    else:
        words = f"own problems of the kind `{source.label}`"
    limit = "" if source.limit is None else f", at most {source.limit} problems"
    return f"{words}{limit}, seed {source.seed}"


def hub_data(source: SourceSettings) -> str | None:
    """Return a source's name on the Hugging Face hub, None if it is not a public data set."""
    return BENCHMARKS[source.name].hub if isinstance(source, BenchmarkSource) else None
