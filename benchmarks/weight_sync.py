"""How long does a weight sync take, from the optimizer step to the first token under the new version?

The baseline is a plain copy of the same bytes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.engines.teachers import TeacherAccess
from actors.learner.batches import TokenSequences
from actors.learner.group import LearnerGroup
from actors.relay.handoff import RelayPrompt
from actors.rollout import Policy, RolloutOrder, RolloutWorker
from actors.settings import EngineSettings, LearnerSettings, OptimizerSettings, RelayLimits, SamplingSettings
from actors.tiny_models import TinyModelSettings, write_config, write_tokenizer
from actors.trajectory import TrajectoryBatch
from benchmarks.harness import RUNS, Row, arguments, paired, report
from cluster.devices import Device, engine_environment, learner_environment
from cluster.session import ray_session
from cluster.shared_weights import Weights, total_bytes
from cluster.weight_transport import InFlight, SharedMemoryTransport
from pipelines.rollout.pool import RolloutPool

SIZES = {
    "demo": TinyModelSettings(hidden_size=96, layers=2, heads=4, intermediate_size=288),
    "larger": TinyModelSettings(hidden_size=512, layers=6, heads=8, head_dim=64, intermediate_size=1536),
}
TURNS = 32
TURN_TOKENS = 48
PROMPT = RelayPrompt((3, 10, 13, 16, 9, 11, 2, 4), (3,))
NAMESPACE = "weight-sync"


class MeasuredWorker(RolloutWorker):
    """A rollout worker that can also take weights through a file in /dev/shm, as earlier versions did."""

    through_file = False

    async def take_through_file(self, through_file: bool) -> None:
        self.through_file = through_file

    async def update_weights(self, weights: Weights, version: int, in_flight: InFlight = InFlight.FINISH) -> int:
        if not self.through_file:
            return await super().update_weights(weights, version, in_flight)
        from safetensors.numpy import load_file, save_file

        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            path = Path(folder) / "weights.safetensors"
            save_file({name: array for name, array in weights.items() if name != "lm_head.weight"}, path)
            return await super().update_weights(load_file(path), version, in_flight)

    async def steps(self) -> int:
        return self.engine.load.steps


class Nobody:
    """Replaces the teacher, which is never called."""


@dataclass(slots=True)
class Bench:
    """A learner and a rollout worker, and measurements of the syncs between them."""

    learner: LearnerGroup
    worker: Any
    pool: RolloutPool
    transport: SharedMemoryTransport
    parts: dict[str, list[float]]
    """for each part of a sync, its seconds in all syncs with an idle engine"""

    def sync(self, in_flight: InFlight, turns: int = 0, through_file: bool = False) -> float:
        """Take an optimizer step, sync, and sample one token; return the seconds from the step to that token."""
        import ray

        self.pool.in_flight = in_flight
        ray.get(self.worker.take_through_file.remote(through_file))
        old = self.pool.version
        self._step()
        started_turns = self.worker.rollout.remote(_order(turns, TURN_TOKENS, old)) if turns else None
        if turns:
            self._wait_for_steps(4)
        started = time.perf_counter()
        if turns:
            self.transport.sync(old + 1)
        else:
            reference = self.learner.weights()
            gathered = time.perf_counter()
            self.pool.load_weights(reference, old + 1)
            self._note(through_file, started, gathered, time.perf_counter())
        first: TrajectoryBatch = ray.get(self.worker.rollout.remote(_order(1, 1, old + 1)))
        seconds = time.perf_counter() - started
        assert set(first.versions.tolist()) == {old + 1}
        if started_turns is not None:
            _check(ray.get(started_turns), turns, old, in_flight)
        return seconds

    def _step(self) -> None:
        rows = TokenSequences.of_prompts_and_targets([PROMPT.student_ids], [[7, 8, 9, 2]])
        self.learner.sft_steps(rows, [np.arange(1)])

    def _wait_for_steps(self, count: int) -> None:
        import ray

        begun = ray.get(self.worker.steps.remote())
        while ray.get(self.worker.steps.remote()) < begun + count:
            time.sleep(0.001)

    def _note(self, through_file: bool, started: float, gathered: float, loaded: float) -> None:
        if not through_file:
            self.parts["the learner gathers and shares"].append(gathered - started)
            self.parts["the engine loads"].append(loaded - gathered)


def _order(samples: int, tokens: int, version: int) -> RolloutOrder:
    limits, sampling = RelayLimits(max_new_tokens=tokens), SamplingSettings()
    return RolloutOrder((PROMPT,), samples, Policy.STUDENT, limits, sampling, sampling, version, want_logprobs=True)


def _check(batch: TrajectoryBatch, turns: int, old: int, in_flight: InFlight) -> None:
    """Assert that no request was lost, and that tokens have the policy version that wrote them."""
    assert len(batch) == turns
    versions = set(batch.versions.tolist())
    assert versions == {old} if in_flight is InFlight.FINISH else versions <= {old, old + 1}, versions


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Start a learner rank and a rollout worker with the model in `folder`, and yield a bench with both."""
    import ray

    engine = EngineSettings(dtype="float32", max_model_len=128, max_num_seqs=64, block_size=32)
    teacher = ray.remote(Nobody).options(name="teacher", num_cpus=0).remote()
    options = {"num_cpus": 0, "max_concurrency": 1000, "runtime_env": {"env_vars": _engine_env()}}
    worker = (
        ray.remote(MeasuredWorker)
        .options(**options)
        .remote(str(folder), engine, TeacherAccess(actors=("teacher",)), str(folder), engine, Device.CPU, 0)
    )
    learner = LearnerGroup(
        LearnerSettings(ranks=1, zero_stage=2, dtype="float32"),
        Device.CPU,
        NAMESPACE,
        learner_environment(Device.CPU, threads=1),
        cpus_per_rank=0,
    )
    try:
        learner.wait(300)
        learner.load(str(folder), OptimizerSettings(lr=1e-3), total_steps=1000)
        pool = RolloutPool([worker], TURNS, 600.0)
        pool.processes()
        parts: dict[str, list[float]] = {"the learner gathers and shares": [], "the engine loads": []}
        yield Bench(learner, worker, pool, SharedMemoryTransport(learner, pool), parts)
    finally:
        learner.shutdown()
        ray.kill(worker)
        ray.kill(teacher)


def _engine_env() -> dict[str, str]:
    return engine_environment(Device.CPU, threads=1)


def write_model(folder: Path, size: TinyModelSettings) -> int:
    """Write a random model of this size to `folder`; return its number of parameters."""
    from transformers import AutoConfig, Qwen3ForCausalLM

    write_tokenizer(folder, "text")
    write_config(folder, size)
    model = Qwen3ForCausalLM(AutoConfig.from_pretrained(folder, trust_remote_code=False)).float()
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def copies(of_bytes: int) -> Callable[[], float]:
    """Return a contestant that copies `of_bytes` bytes between two arrays whose memory is already allocated."""
    source, target = np.ones(of_bytes, np.uint8), np.zeros(of_bytes, np.uint8)

    def run() -> float:
        started = time.perf_counter()
        np.copyto(target, source)
        return time.perf_counter() - started

    return run


def measure(name: str, folder: Path, runs: int) -> list[Row]:
    import ray

    parameters = write_model(folder, SIZES[name])
    with bench(folder) as made:
        of_bytes = total_bytes(ray.get(made.learner.weights()))
        label = f"{name} model, {parameters / 1e6:.3g} M parameters, {of_bytes / 1e6:.3g} MB"
        contestants: Mapping[str, Callable[[], float]] = {
            f"{label}: a copy of the same bytes": copies(of_bytes),
            f"{label}: sync": lambda: made.sync(InFlight.FINISH),
            f"{label}: sync through a file in /dev/shm": lambda: made.sync(InFlight.FINISH, through_file=True),
            f"{label}: sync, {TURNS} turns in flight continue": lambda: made.sync(InFlight.CONTINUE, TURNS),
            f"{label}: sync, {TURNS} turns in flight finish": lambda: made.sync(InFlight.FINISH, TURNS),
        }
        rows = paired(contestants, runs=runs)
        parts = {part: values[-runs:] for part, values in made.parts.items()}
    return rows + [Row(f"{label}: of a sync, {part}", "s", values) for part, values in parts.items()]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    sizes, runs = (["demo"], 1) if options.quick else (options.sizes, options.runs)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, ray_session(NAMESPACE, None, 4, 0):
        for name in sizes:
            rows += measure(name, Path(folder) / name, runs)
    notes = [
        "Seconds from the end of the optimizer step, on one learner rank, to the first token under the new version, on one engine.",
        f"Turns in flight are {TURNS} samples of up to {TURN_TOKENS} tokens. The benchmark checks that none is lost.",
    ]
    report("weight_sync", rows, options, notes)


if __name__ == "__main__":
    main()
