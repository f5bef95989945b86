"""What a sweep would do, as text for a dry run."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from cluster.placement import table
from pipelines.experiment.stage_keys import stage_keys
from pipelines.sweep.plan import Sweep
from pipelines.sweep.settings import ParameterSettings


def described(sweep: Sweep) -> str:
    """Return as text the trials, their values, the stages that they share, and the resources of one."""
    settings, keys, varying = sweep.settings, list(stage_keys(sweep.experiment)), sweep.varying_stages()
    shared = _short(stage for stage in keys if stage not in varying)
    early = settings.early_terminate
    lines = [
        f"sweep {sweep.name}: {sweep.trials} trials of {settings.program}, method {settings.method}, in {sweep.directory}",
        f"maximises {settings.metric.name}, with a call ratio budget of {sweep.experiment.evaluation.call_ratio_budget:g}",
        "parameters",
        *(f"  {key}: {_values(found)}" for key, found in settings.parameters.items()),
        f"stages that all trials share, done once: {', '.join(shared) or 'none'}",
        f"stages of each trial: {', '.join(_short(varying)) or 'none'}",
    ]
    if early is not None:
        lines.append(
            f"ends early: after iteration {early.first}, and then {early.eta:g} times as far each time, the best 1/{early.eta:g} "
            "of the trials go on"
        )
    lines += [
        f"resources of one trial ({sweep.experiment.cluster.device.value}), as Ray reserves them",
        textwrap.indent(table(sweep.experiment.bundles()), "  "),
    ]
    return "\n".join(lines)


def _short(stages: Iterable[str]) -> list[str]:
    """Return the stages, with one name for the evaluations of one policy after several GRPO steps."""
    return list(dict.fromkeys(re.sub(r"-grpo-\d+-", "-grpo-<step>-", stage) for stage in stages))


def _values(parameter: ParameterSettings) -> str:
    if parameter.value is not None:
        return f"{parameter.value}"
    if parameter.values is not None:
        return " | ".join(map(str, parameter.values))
    step = f", step {parameter.q:g}" if parameter.q else ""
    return f"{parameter.min} to {parameter.max} ({parameter.drawn}{step})"
