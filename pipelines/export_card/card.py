"""The model card of an exported student, filled from its run."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.data.settings import SourceSettings
from pipelines.export_card.finished import FinishedRun
from pipelines.export_card.metadata import card_metadata
from pipelines.export_card.results import KindResults, results_by_kind
from pipelines.export_card.wording import data_phrase, hub_name, model_phrase
from pipelines.records.evaluations import Evaluation
from pipelines.report.run.summary import run_verdict
from pipelines.wording import percent


def model_card(run: FinishedRun) -> str:
    """Return the README.md: YAML metadata, and the card in Markdown."""
    results = results_by_kind(run.records)
    return f"---\n{card_metadata(run, results)}---\n\n{_body(run, results)}"


def _body(run: FinishedRun, results: list[KindResults]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; what comes from settings stands in code
    )
    environment.filters["accuracy"] = _accuracy
    environment.filters["ratio"] = _ratio
    environment.filters["data"] = data_phrase
    environment.filters["model"] = model_phrase
    environment.filters["code"] = _code
    experiment = run.experiment
    data = experiment.data
    return environment.get_template("card.md.j2").render(
        experiment=experiment,
        run=run,
        results=results,
        verdict=run_verdict(run.records),
        final_teacher=experiment.with_final_teacher().models.teacher,
        warmup_sources=data.warmup,
        seeds=_seeds(experiment.seed, data.train, data.evaluation),
        limits=experiment.evaluation.limits,
        teacher_name=hub_name(experiment.models.teacher),
    )


def _accuracy(one: Evaluation | None) -> str:
    """Return an accuracy with its 95 % interval as text."""
    if one is None:
        return "–"
    low, high = one.accuracy_ci95
    return f"{percent(one.accuracy)} ({100 * low:.1f}–{100 * high:.1f})"


def _ratio(one: Evaluation | None) -> str:
    return "–" if one is None else percent(one.call_ratio)


def _code(text: str) -> str:
    """Return a text as code in Markdown, on one line."""
    shown = text.replace("\n", "\\n")
    fence = "``" if "`" in shown else "`"
    pad = " " if "`" in shown or shown != shown.strip() else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _seeds(run: int, train: SourceSettings, evaluation: tuple[SourceSettings, ...]) -> str:
    """Return the run's seeds as text."""
    parts = [f"run {run}", f"training problems {train.seed}"]
    parts += [f"evaluation {'/'.join(source.kinds)} {source.seed}" for source in evaluation]
    return ", ".join(parts)
