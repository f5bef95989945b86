"""Start-up: from the command to the first rollout token with cached models, where the seconds go, and what is serial.

Every start is a process of its own, so that nothing is imported already.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Goal, Row, arguments, report

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "experiments" / "demo.yaml"
ACTORS_UP = "from the first actor's start until all are up"
SIDE_BY_SIDE = Goal("ratio", "<=", 1.2)


class StartedError(Exception):
    """The run has written its first token, which is all that was wanted of it."""


class Marks:
    """Seconds of one phase after the other."""

    def __init__(self, since: float) -> None:
        self._last = since
        self.seconds: dict[str, float] = {}

    def __call__(self, phase: str) -> None:
        now = time.time()
        self.seconds[phase], self._last = now - self._last, now


def settings(models: Path, run_dir: Path) -> list[str]:
    """Return changes to the demo's settings: models that are there already, and nothing tracked."""
    sources = [
        f"models.{role}.{value}" for role in ("student", "teacher") for value in ("pretrain=null", f"path={models}")
    ]
    return [*sources, "tracking.mode=disabled", f"run_dir={run_dir}"]


def whole(models: Path, run_dir: Path, since: float) -> dict[str, float]:
    """Let the driver start a run, up to its first token; return the seconds of the phases since `since`."""
    from pipelines.config import load
    from pipelines.experiment import Experiment

    marks = Marks(since)
    experiment = load(DEMO, settings(models, run_dir), Experiment)
    from pipelines import driver, system

    marks("the driver's imports and settings")
    first_actor: list[float] = []
    real_session, real_reserve = driver.ray_session, system.reserve

    @contextmanager
    def session(*arguments: Any) -> Iterator[str]:
        marks("problems")
        with real_session(*arguments) as address:
            marks("Ray")
            yield address

    def reserve(*arguments: Any) -> Any:
        first_actor.append(time.time())
        return real_reserve(*arguments)

    def first_token(run: Any) -> None:
        from actors.rollout import Policy
        from pipelines.rollouts import Decoding, decode_and_grade

        marks("tracking and prompts")
        assert run.system is not None
        marks("waiting for the actors")
        marks.seconds[ACTORS_UP] = time.time() - first_actor[0]
        grpo = experiment.grpo
        limits = grpo.limits.model_copy(update={"max_new_tokens": 1, "max_calls": 0})
        decoding = Decoding(Policy.STUDENT, 1, limits, grpo.sampling, experiment.teacher.sampling, True)
        list(decode_and_grade(run, run.problems.training.problems[:1], decoding))
        marks("the first token")
        raise StartedError

    driver.ray_session, system.reserve, driver.evaluate_base = session, reserve, first_token  # type: ignore[assignment]
    try:
        driver.drive(experiment)
    except StartedError:
        return marks.seconds
    raise RuntimeError("the run has ended without a first token")


def single(models: Path, run_dir: Path) -> dict[str, float]:
    """Start each actor by itself, with all cores to itself; return the seconds that each takes."""
    import ray

    from actors.learner.group import LearnerGroup
    from actors.rollout import RolloutWorker
    from actors.teacher import TeacherActor
    from cluster.devices import Device, engine_environment, learner_environment
    from cluster.session import ray_session
    from pipelines.config import load
    from pipelines.experiment import Experiment

    class Nobody:
        """In the place of the teacher, which is never called."""

    experiment = load(DEMO, settings(models, run_dir), Experiment)
    threads, engine = experiment.cluster.engine_threads, experiment.rollout.engine
    env = {"env_vars": engine_environment(Device.CPU, threads)}
    seconds: dict[str, float] = {}

    def engine_start(name: str, actor_class: type, *given: object) -> None:
        started = time.time()
        options = {"num_cpus": 0, "name": name, "max_concurrency": 10, "runtime_env": env}
        actor = ray.remote(actor_class).options(**options).remote(str(models), engine, *given)
        ray.get(actor.ready.remote())
        seconds[name] = time.time() - started
        ray.kill(actor)

    with ray_session("startup-benchmark", None, 3, 0):
        engine_start("teacher", TeacherActor, Device.CPU, 0)
        stand_in = ray.remote(Nobody).options(num_cpus=0, name="nobody").remote()
        engine_start("rollout", RolloutWorker, "nobody", str(models), engine, Device.CPU, 0)
        ray.kill(stand_in)
        started = time.time()
        learner_env = learner_environment(Device.CPU, experiment.cluster.learner_threads)
        learner = LearnerGroup(experiment.learner, Device.CPU, "startup-benchmark", learner_env, cpus_per_rank=0)
        seconds["learner"] = time.time() - started
        learner.shutdown()
    return seconds


def in_a_process(what: str, models: Path, folder: Path) -> dict[str, float]:
    """Return what `whole` or `single` find in a new process."""
    result = folder / "result.json"
    command = [sys.executable, "-m", "benchmarks.startup", "--child", what, str(models), str(result), str(time.time())]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return seconds


def child(what: str, models: str, result: str, since: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        found = whole(Path(models), run_dir, float(since)) if what == "whole" else single(Path(models), run_dir)
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def write_model(folder: Path) -> None:
    """Write a random model of the demo's size."""
    from transformers import AutoConfig, Qwen3ForCausalLM

    from actors.tiny_models import TinyModelSettings, write_config, write_tokenizer

    write_tokenizer(folder, "text")
    write_config(folder, TinyModelSettings(hidden_size=96, layers=2, heads=4, intermediate_size=288))
    Qwen3ForCausalLM(AutoConfig.from_pretrained(folder)).float().save_pretrained(folder)


def rows_of(wholes: list[dict[str, float]], alone: dict[str, float]) -> list[Row]:
    phases = [phase for phase in wholes[0] if phase != ACTORS_UP]
    totals = [sum(each[phase] for phase in phases) for each in wholes]
    slowest, slowest_s = max(alone.items(), key=lambda item: item[1])
    ups = [each[ACTORS_UP] for each in wholes]
    return [
        Row("from the command to the first token", "s", totals),
        *(Row(f"of it, {phase}", "s", [each[phase] for each in wholes]) for phase in phases),
        *(Row(f"{name} alone", "s", [seconds]) for name, seconds in alone.items()),
        Row(ACTORS_UP, "s", ups, [up / slowest_s for up in ups], f"{slowest} alone", SIDE_BY_SIDE),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", nargs=4, metavar=("WHAT", "MODELS", "RESULT", "SINCE"), help="one start, for itself")
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model")
        alone = in_a_process("single", folder / "model", folder)
        wholes = [in_a_process("whole", folder / "model", folder) for _ in range(1 if options.quick else options.runs)]
    total = median(sum(each.values()) - each[ACTORS_UP] for each in wholes)
    notes = [
        f"The demo, with models of its size that are there already; {total:.3g} s in the median.",
        "An actor alone has all cores to itself, from its creation until it answers; the last row has them side by side.",
    ]
    report("startup", rows_of(wholes, alone), options, notes)


if __name__ == "__main__":
    main()
