"""The driver: one run from its experiment to its report."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

from actors.engines.endpoint import UnsuitableServerError
from actors.learner.errors import LearnerTimeoutError
from actors.learner.kernels import require_liger
from cluster.machine import Machines, nodes_of_cluster, this_machine
from cluster.metrics.publisher import memory_readings, published
from cluster.names import require_free
from cluster.session import address_of, ray_session
from cluster.supervision import ActorLostError, ActorWatch
from cluster.task_names import stage_readings
from pipelines.data.prompt_lengths import with_room_for_answers
from pipelines.data.prompts import PromptBuilder
from pipelines.data.sources import DataError, ProblemSets, load_problem_sets
from pipelines.experiment.model_paths import check_given_paths, given_paths
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import stage_keys
from pipelines.experiment.stage_names import FINAL, evaluation_stage
from pipelines.memory.fit import MemoryShortError, check_memory, memory_advice
from pipelines.models.base_models import BaseModels, finished_base_models, prepare_base_models
from pipelines.models.served import key_variables, require_servers, with_served_teachers
from pipelines.records.binding import bind, bind_steps
from pipelines.records.run_directory import RunDirectory
from pipelines.records.stored_run import open_run, require_shared_copy
from pipelines.records.tracking import Tracker
from pipelines.run import Run, parts_left, prompt_builder
from pipelines.stages.evaluate import evaluate_base, evaluate_final, evaluate_warmup, train_and_evaluate_citer
from pipelines.stages.filter import filter_problems
from pipelines.stages.grpo import grpo
from pipelines.stages.warmup import warm_up
from pipelines.system.on_demand import SystemOnDemand
from pipelines.system.starting import Part
from pipelines.terminal.interruption import asked_to_stop
from pipelines.terminal.live import Display, live
from pipelines.terminal.stages import shown_stages

logger = logging.getLogger(__name__)

PROBLEM_SETS = "problem_sets.json"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
"""before all actors are started again; whatever ended a learner rank may need a while to pass"""


def drive(experiment: Experiment) -> Path:
    """Run all stages that are not finished, and return the path of the run's report.

    If a learner rank dies or misses a deadline, all actors are started again, and training goes on from its last checkpoint.
    That happens at most `cluster.max_restarts` times, each time after a pause that grows up to a minute.
    """
    budget = experiment.cluster.max_restarts
    for begun_again in count(1):
        try:
            return _drive(experiment)
        except (ActorLostError, LearnerTimeoutError) as error:
            others_lost = isinstance(error, ActorLostError) and error.roles != {"learner"}
            if begun_again > budget or others_lost or asked_to_stop():
                raise
            logger.warning(
                "%s\nAll actors are started again in %.0f s, and training goes on from its last checkpoint, %d of %d times",
                error,
                pause_s := min(_FIRST_PAUSE_S * 2 ** min(begun_again - 1, 10), _LONGEST_PAUSE_S),
                begun_again,
                budget,
            )
            time.sleep(pause_s)
    raise AssertionError("the loop returns or raises")


def _drive(experiment: Experiment) -> Path:
    if experiment.trains and experiment.learner.liger_kernels:
        require_liger()
    problems = load_problem_sets(experiment.data, experiment.warmup.enabled)
    check_given_paths(experiment)
    with open_run(experiment) as directory, ThreadPoolExecutor(max_workers=1) as beside:
        new = not directory.experiment.exists()
        bind(directory, experiment)
        config = experiment.model_dump(mode="json")
        models = finished_base_models(experiment)
        joins, parts = address_of(experiment.cluster.address) is not None, parts_left(experiment, directory)
        left = not all(map(directory.stage_done, stage_keys(experiment)))
        if left and not joins:
            _require_memory(experiment, directory, this_machine(), parts, new)
        if left:
            models = _asked(experiment, models, directory, new)
        # Ray takes a while to start its processes. The driver loads the tokenizers in that time.
        prompting = beside.submit(checked_prompts, experiment, models, problems) if models is not None else None
        if prompting and given_paths(experiment):  # a tokenizer that somebody brought may be refused
            with _left_free(directory, new):
                prompting.result()
        if left:
            logger.info("starting Ray and %s", ", ".join(bundle.actor for bundle in experiment.bundles()))
        watch = ActorWatch(partial(memory_advice, experiment), start_timeout_s=experiment.cluster.start_timeout_s)
        with (
            ray_session(
                experiment.namespace,
                experiment.cluster.address,
                *experiment.resources(),
                key_variables(experiment),
            ),
            SystemOnDemand(watch) as actors,
            watch,
            ExitStack() as ends,
        ):
            if joins:
                require_shared_copy(experiment)
                require_free(experiment.namespace, experiment.name)
                if left:
                    _require_memory(experiment, directory, nodes_of_cluster(), parts, new)
            if models is not None and left:
                # Starting the actors takes longest, so it begins now. The other preparations run beside it.
                begin_what_is_left(actors, experiment, models, directory)
            ends.enter_context(live(Display(experiment.name, shown_stages(experiment, directory))))
            tracker = ends.enter_context(
                Tracker(directory, experiment.tracking, config, alarms=experiment.alarms_in_force)
            )
            shown = tracker.readings, stage_readings, actors.readings, memory_readings
            ends.enter_context(published(experiment.publishing("driver"), *shown))
            models = models or with_served_teachers(experiment, prepare_base_models(experiment, tracker))
            prompts, problems = prompting.result() if prompting else checked_prompts(experiment, models, problems)
            directory.write_json(PROBLEM_SETS, problems.record())
            run = Run(experiment, directory, tracker, models, problems, prompts, actors.get)
            evaluate_base(run)
            kept = filter_problems(run)
            run = replace(run, experiment=experiment.with_steps_for(len(kept)))
            bind_steps(directory, experiment, run.experiment)
            train_and_evaluate_citer(run, kept)
            warm_up(run, kept)
            evaluate_warmup(run)
            grpo(run, kept)
            evaluate_final(run.with_final_teacher())
        from pipelines.report.run.page import write_report

        return write_report(directory.path)


def _asked(experiment: Experiment, models: BaseModels | None, directory: RunDirectory, new: bool) -> BaseModels | None:
    """Return the models with their teachers behind HTTP. Raises `UnsuitableServerError`, and leaves a `new` directory free."""
    with _left_free(directory, new):
        if models is not None:
            return with_served_teachers(experiment, models)
        require_servers(experiment)
        return None


def _require_memory(
    experiment: Experiment, directory: RunDirectory, machines: Machines, parts: Collection[Part], new: bool
) -> None:
    """Raise `MemoryShortError` if the run surely does not fit, and leave a `new` directory free."""
    with _left_free(directory, new):
        check_memory(experiment, machines, parts)


@contextmanager
def _left_free(directory: RunDirectory, new: bool) -> Iterator[None]:
    """If the block refuses the run, remove the experiment file of a `new` directory, so that another experiment can use it."""
    try:
        yield
    except (DataError, MemoryShortError, UnsuitableServerError):
        if new:
            directory.experiment.unlink()
        raise


def begin_what_is_left(
    actors: SystemOnDemand, experiment: Experiment, models: BaseModels, directory: RunDirectory
) -> None:
    """Start the actors of the first unfinished stage in the background.

    If only the final evaluation is left, they start with that evaluation's teacher.
    """
    final = {evaluation_stage(FINAL, policy) for policy in experiment.evaluation.final}
    if all(map(directory.stage_done, stage_keys(experiment).keys() - final)):
        experiment, models = experiment.with_final_teacher(), models.with_final_teacher()
    actors.begin(experiment, models, parts_left(experiment, directory))


def checked_prompts(
    experiment: Experiment, models: BaseModels, problems: ProblemSets
) -> tuple[PromptBuilder, ProblemSets]:
    """Return the prompt builder, and the problems whose prompts leave room for an answer."""
    suffix, final_prompts = experiment.data.prompt_suffix, None
    prompts = prompt_builder(models, suffix)
    if models.changes_teacher:
        final_prompts = prompt_builder(models.with_final_teacher(), suffix)
    return prompts, with_room_for_answers(
        problems,
        prompts,
        final_prompts,
        training_tokens=experiment.longest_prompt(experiment.grpo.limits),
        evaluation_tokens=experiment.longest_prompt(experiment.evaluation.limits),
    )
