"""The YAML at the top of a model card, as the Hugging Face hub reads it."""

from __future__ import annotations

import re

from huggingface_hub import EvalResult, ModelCardData

from pipelines.export_card.finished import FinishedRun
from pipelines.export_card.results import KindResults
from pipelines.export_card.wording import hub_data, hub_name
from pipelines.records.evaluations import ALL, Evaluation


def card_metadata(run: FinishedRun, results: list[KindResults]) -> str:
    """Return the metadata as YAML, with a line feed at its end."""
    experiment = run.experiment
    sources = (experiment.data.train, *experiment.data.warmup)
    data = ModelCardData(
        license="other",
        license_name="to-be-named-by-the-publisher",
        base_model=hub_name(experiment.models.student),
        datasets=sorted({name for source in sources if (name := hub_data(source)) is not None}) or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["relayllm", "relay-decoding"],
        model_name=experiment.name,
        eval_results=_eval_results(run, results) or None,
    )
    return f"{data.to_yaml()}\n"


def _eval_results(run: FinishedRun, results: list[KindResults]) -> list[EvalResult]:
    names = {kind: hub_data(source) for source in run.experiment.data.evaluation for kind in source.kinds}
    found = []
    for one in results:
        if one.kind == ALL and len(results) > 1:
            continue
        dataset = names.get(one.kind) or re.sub(r"[^\w.-]+", "-", one.kind)
        for evaluation, who in ((one.relay, "with its teacher"), (one.alone, "without a teacher")):
            if evaluation is not None:
                found += _metrics(evaluation, who, dataset, one.label)
    return found


def _metrics(evaluation: Evaluation, who: str, dataset: str, label: str) -> list[EvalResult]:
    values = [("accuracy", f"accuracy, {who}", evaluation.accuracy)]
    if evaluation.policy == "relay":
        values.append(("call_ratio", "call ratio: teacher-written tokens / output tokens", evaluation.call_ratio))
    return [
        EvalResult(
            task_type="text-generation",
            task_name="Question answering",
            dataset_type=dataset,
            dataset_name=label,
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 4),
        )
        for metric, name, value in values
    ]
