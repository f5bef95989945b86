"""How long does a run take from the command to the first rollout token, with cached models, and where does the time go?

It also measures how long each actor takes to start alone, and the CPU time of the start, which no schedule can avoid. Every
start is a process of its own, so that nothing is imported yet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Goal, Row, arguments, report

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "experiments" / "demo.yaml"
ACTORS_UP = "from the first actor's start until all are up"
SIDE_BY_SIDE = Goal("ratio", "<=", 1.2)
TITLES = {
    "ray::TeacherActor": "teacher",
    "ray::RolloutWorker": "rollout",
    "ray::LearnerRank": "learner",
    "ray::RewardActor": "reward and its processes",
}
REST = "the driver and Ray"


class StartedError(Exception):
    """The run has written its first token, so the benchmark ends it."""


class Marks:
    """Records the seconds of consecutive phases. A call ends the phase that it names."""

    def __init__(self, since: float) -> None:
        self._last = since
        self.seconds: dict[str, float] = {}

    def __call__(self, phase: str) -> None:
        now = time.time()
        self.seconds[phase], self._last = now - self._last, now


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a run, up to its first token."""

    phases_s: dict[str, float]
    actors_up_s: float
    """from the first actor's start until all are up"""
    processor_s: dict[str, float]
    """CPU seconds within that time, by actor"""


@dataclass(frozen=True, slots=True)
class Process:
    """The kernel's record of a process."""

    parent: int
    title: str
    processor_s: float
    """user and system CPU time, including ended children"""


def processes() -> dict[int, Process]:
    """Return all processes of this machine by their ids."""
    found, ticks_per_s = {}, os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, title = (folder / "stat").read_text(), (folder / "cmdline").read_text(errors="replace")
        except OSError:  # it has ended since
            continue
        fields = stat.rpartition(")")[2].split()
        found[int(folder.name)] = Process(int(fields[1]), title, sum(map(int, fields[11:15])) / ticks_per_s)
    return found


def processor_seconds(found: dict[int, Process], root: int) -> dict[str, float]:
    """Return the CPU seconds of `root` and all its descendants, by actor. Other processes count as the rest."""
    seconds = dict.fromkeys([*TITLES.values(), REST], 0.0)
    for pid, process in found.items():
        owner, above = REST, pid
        while above != root and above in found:
            owner = next((name for title, name in TITLES.items() if found[above].title.startswith(title)), owner)
            above = found[above].parent
        if above == root:
            seconds[owner] += process.processor_s
    return seconds


def settings(models: Path, run_dir: Path) -> list[str]:
    """Return overrides of the demo's settings: existing models, and no tracking."""
    sources = [
        f"models.{role}.{value}" for role in ("student", "teacher") for value in ("pretrain=null", f"path={models}")
    ]
    return [*sources, "tracking.mode=disabled", f"run_dir={run_dir}"]


def whole(models: Path, run_dir: Path, since: float) -> Start:
    """Let the driver start a run up to its first token; return its times, counted from `since` (seconds since the epoch)."""
    from pipelines.experiment.loading import load
    from pipelines.experiment.schema import Experiment

    marks = Marks(since)
    experiment = load(DEMO, settings(models, run_dir), Experiment)
    from pipelines import driver
    from pipelines.system import starting

    marks("the driver's imports and settings")
    before: dict[str, float] = {}
    first_actor_s = actors_up_s = 0.0
    taken: dict[str, float] = {}
    real_session, real_reserve = driver.ray_session, starting.reserve

    @contextmanager
    def session(*arguments: Any) -> Iterator[str]:
        marks("problems")
        with real_session(*arguments) as address:
            marks("Ray")
            yield address

    def reserve(*arguments: Any) -> Any:
        nonlocal first_actor_s
        before.update(processor_seconds(processes(), os.getpid()))
        first_actor_s = time.time()
        return real_reserve(*arguments)

    def first_token(run: Any) -> None:
        from actors.rollout import Policy
        from pipelines.rollout.decode_and_grade import RolloutDecoding, decode_and_grade

        marks("tracking and prompts")
        run.actors()
        marks("waiting for the actors")
        nonlocal actors_up_s
        actors_up_s = time.time() - first_actor_s
        after = processor_seconds(processes(), os.getpid())
        taken.update({name: seconds - before[name] for name, seconds in after.items()})
        grpo = experiment.grpo
        limits = grpo.limits.model_copy(update={"max_new_tokens": 1, "max_calls": 0})
        decoding = RolloutDecoding(
            Policy.STUDENT, 1, limits, grpo.sampling, experiment.teacher.sampling, "benchmark", True
        )
        list(decode_and_grade(run.decoding_actors(), run.problems.train.problems[:1], decoding))
        marks("the first token")
        raise StartedError

    driver.ray_session, starting.reserve, driver.evaluate_base = session, reserve, first_token  # type: ignore[assignment]
    try:
        driver.drive(experiment)
    except StartedError:
        return Start(marks.seconds, actors_up_s, taken)
    raise RuntimeError("the run ended without a first token")


def single(models: Path, run_dir: Path) -> dict[str, float]:
    """Start one actor after the other, so that each has all cores; return the seconds of each start."""
    import ray

    from actors.engines.teachers import TeacherAccess
    from actors.learner.group import LearnerGroup
    from actors.rollout import RolloutWorker
    from actors.teacher import TeacherActor
    from cluster.devices import Device, engine_environment, learner_environment
    from cluster.session import ray_session
    from pipelines.experiment.loading import load
    from pipelines.experiment.schema import Experiment

    class Nobody:
        """Replaces the teacher, which is never called."""

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
        engine_start("rollout", RolloutWorker, TeacherAccess(actors=("nobody",)), str(models), engine, Device.CPU, 0)
        ray.kill(stand_in)
        started = time.time()
        learner_env = learner_environment(Device.CPU, experiment.cluster.learner_threads)
        learner = LearnerGroup(experiment.learner, Device.CPU, "startup-benchmark", learner_env, cpus_per_rank=0)
        learner.wait(300)
        seconds["learner"] = time.time() - started
        learner.shutdown()
    return seconds


def in_a_process(what: str, models: Path, folder: Path) -> dict[str, Any]:
    """Run `whole` or `single` in a new process; return its result, converted through JSON."""
    result = folder / "result.json"
    command = [sys.executable, "-m", "benchmarks.startup", "--child", what, str(models), str(result), str(time.time())]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def child(what: str, models: str, result: str, since: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        if what == "whole":
            found: dict[str, Any] = asdict(whole(Path(models), run_dir, float(since)))
        else:
            found = single(Path(models), run_dir)
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def write_model(folder: Path) -> None:
    """Write a random model of the demo's size to `folder`."""
    from transformers import AutoConfig, Qwen3ForCausalLM

    from actors.tiny_models import TinyModelSettings, write_config, write_tokenizer

    write_tokenizer(folder, "text")
    write_config(folder, TinyModelSettings(hidden_size=96, layers=2, heads=4, intermediate_size=288))
    Qwen3ForCausalLM(AutoConfig.from_pretrained(folder, trust_remote_code=False)).float().save_pretrained(folder)


def rows_of(starts: list[Start], alone: dict[str, float], cores: int) -> list[Row]:
    totals = [sum(start.phases_s.values()) for start in starts]
    slowest, slowest_s = max(alone.items(), key=lambda item: item[1])
    ups = [start.actors_up_s for start in starts]
    floors = [sum(start.processor_s.values()) / cores for start in starts]
    return [
        Row("from the command to the first token", "s", totals),
        *(Row(f"of it, {phase}", "s", [each.phases_s[phase] for each in starts]) for phase in starts[0].phases_s),
        *(Row(f"{name} alone", "s", [seconds]) for name, seconds in alone.items()),
        Row(ACTORS_UP, "s", ups, [up / slowest_s for up in ups], f"{slowest} alone", SIDE_BY_SIDE),
        *(
            Row(f"processor in that time, {name}", "s", [start.processor_s[name] for start in starts])
            for name in starts[0].processor_s
        ),
        Row(f"all of it / {cores} cores", "s", floors, [floor / slowest_s for floor in floors], f"{slowest} alone"),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--child", nargs=4, metavar=("WHAT", "MODELS", "RESULT", "SINCE"), help="internal: measure one start"
    )
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model")
        alone = in_a_process("single", folder / "model", folder)
        runs = 1 if options.quick else options.runs
        starts = [Start(**in_a_process("whole", folder / "model", folder)) for _ in range(runs)]
    total = median(sum(start.phases_s.values()) for start in starts)
    notes = [
        f"The demo with existing models of the same size; the median is {total:.3g} s.",
        "The time of an actor alone is from its creation until it answers, with all cores for itself. In a run, all actors start "
        "side by side.",
        "Side by side, the start takes at least the CPU seconds of all actors / the number of cores.",
    ]
    report("startup", rows_of(starts, alone, len(os.sched_getaffinity(0))), options, notes)


if __name__ == "__main__":
    main()
