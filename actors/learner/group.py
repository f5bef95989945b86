"""The learner as the driver sees it: all ranks behind one object, every call with a deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from actors.learner.batches import GrpoStep, Int64, TokenSequences
from actors.learner.errors import LearnerError, LearnerRefusal, LearnerTimeoutError
from actors.learner.metrics import GrpoMetrics, SftMetrics
from actors.learner.rank import LearnerRank
from actors.settings import LearnerSettings, OptimizerSettings
from actors.trajectory import Float32, TrajectoryBatch
from cluster.deadlines import ROLLOUT_DEADLINE, START_TIMEOUT, results
from cluster.devices import Device, WeightBackend
from cluster.errors import DeadlineError, as_raised
from cluster.metrics.publisher import Publishing
from cluster.stacks import where_they_stand
from cluster.task_names import task_name
from cluster.weight_transport import InFlight

if TYPE_CHECKING:
    import ray
    from ray.actor import ActorHandle
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from actors.learner.model import ModelSpec

T = TypeVar("T")
_SHOWN_AS = {"grpo_step": "learn", "sft_steps": "learn", "weights": "sync", "send_weights": "sync"}
"""methods whose tasks are named by a phase of the step"""
_DEADLINE = "learner.deadline_s"
_FOR_THE_RANK_S = 30.0
"""time that a rank has beyond the deadline of what it waits for, so that its own message arrives"""


class PendingCall(Generic[T]):
    """A call under way on some ranks. Its deadline counts from its start."""

    def __init__(
        self,
        method: str,
        references: Sequence[ray.ObjectRef[T]],
        seconds: float,
        key: str,
        ranks: Sequence[ActorHandle[Any]] = (),
    ) -> None:
        """`key` is the setting that the deadline of `seconds` comes from. `ranks` are the actors that were called, in order.

        Ranks that miss the deadline are asked where their threads stand.
        """
        self._method, self._references, self._seconds, self._key = method, references, seconds, key
        self._ranks = ranks
        self._deadline = monotonic() + seconds

    def result(self) -> T:
        """Wait for all ranks; return the result of rank 0. Raises the same errors as `results`."""
        return self.results()[0]

    def results(self) -> list[T]:
        """Wait for all ranks; return their results by rank.

        The first failure is raised at once: a `LearnerRefusal` or `DeadlineError` as the rank raised it, a `LearnerTimeoutError` at the
        deadline, or else a `LearnerError` that names the call and the rank.
        """
        import ray

        rank_of = {reference: rank for rank, reference in enumerate(self._references)}
        results: dict[int, T] = {}
        pending = list(rank_of)
        while pending:
            ready, pending = ray.wait(pending, num_returns=1, timeout=max(self._deadline - monotonic(), 0.0))
            if not ready:
                late = [rank_of[reference] for reference in pending]
                ids = [self._ranks[rank]._actor_id.hex() for rank in late if rank < len(self._ranks)]
                raise LearnerTimeoutError(
                    f"{self._method} took more than {self._seconds:g} s on learner ranks {late}: if it needs more, raise "
                    f"{self._key}{where_they_stand(ids)}"
                )
            for reference in ready:
                rank = rank_of[reference]
                try:
                    results[rank] = ray.get(reference)
                except (LearnerRefusal, DeadlineError) as error:
                    raise _without_traceback(error) from None
                except ray.exceptions.RayError as error:
                    raise LearnerError(f"{self._method} failed on learner rank {rank}: {error}") from error
        return [results[rank] for rank in range(len(self._references))]


class LearnerGroup:
    """The Ray actors `learner-0`, `learner-1`, ..., one DeepSpeed rank each.

    Methods call the methods of `Trainer` on all ranks and wait for them, for `learner.deadline_s` at most. Each raises what
    `PendingCall.results` raises.
    """

    def __init__(
        self,
        settings: LearnerSettings,
        device: Device,
        namespace: str,
        env: Mapping[str, str],
        places: Sequence[PlacementGroupSchedulingStrategy] | None = None,
        cpus_per_rank: float = 1.0,
        gpus_per_rank: float = 0.0,
        student: str | None = None,
        publishing: Callable[[str], Publishing | None] = lambda actor: None,
    ) -> None:
        """Start the ranks with environment `env`, rank i at `places[i]`, and let them connect in the background.

        Call `wait` before any other method, and `shutdown` at the end. Rank 0 checks the model folder `student` with
        `check_model`. `publishing` returns what a rank needs to publish its metrics, given its name.
        """
        import ray

        if places is not None and len(places) != settings.ranks:
            raise ValueError(f"{settings.ranks} learner ranks need as many places, not {len(places)}")
        remote_rank = ray.remote(LearnerRank)
        self._deadline_s = settings.deadline_s
        self._ranks: list[Any] = []
        for rank in range(settings.ranks):
            options = remote_rank.options(
                name=f"learner-{rank}",
                namespace=namespace,
                num_cpus=cpus_per_rank,
                num_gpus=gpus_per_rank,
                runtime_env={"env_vars": dict(env)},
                scheduling_strategy="DEFAULT" if places is None else places[rank],
            )
            self._ranks.append(options.remote(settings, rank, device, publishing(f"learner-{rank}")))
        address = self._ranks[0].address.remote()
        self._joining = [rank.join.remote(address) for rank in self._ranks]
        self._checking = [self._ranks[0].check.remote(student)] if student is not None else []

    @property
    def actors(self) -> list[ActorHandle[Any]]:
        """Return the ranks' actors, by rank."""
        return list(self._ranks)

    @property
    def joining(self) -> dict[str, ray.ObjectRef[Any]]:
        """Return the calls that end when the ranks are connected, by the actors' names."""
        return {f"learner-{rank}": call for rank, call in enumerate(self._joining)}

    def wait(self, seconds: float) -> None:
        """Return when all ranks are connected; `seconds` is cluster.start_timeout_s.

        Raises `LearnerError` if that fails, or if the learner could not train the student.
        """
        PendingCall("join", self._joining, seconds, START_TIMEOUT, self._ranks).results()
        PendingCall("check", self._checking, seconds, START_TIMEOUT, self._ranks).results()

    def load(
        self,
        model: str | ModelSpec,
        optimizer: OptimizerSettings,
        total_steps: int,
        reference: str | None = None,
        seed: int = 0,
    ) -> None:
        """See `Trainer.load`."""
        self._call("load", model, optimizer, total_steps, reference, seed)

    def free_memory(self, keep_weights: bool) -> None:
        """See `Trainer.free_memory`."""
        self._call("free_memory", keep_weights)

    def take_memory(self) -> None:
        """See `Trainer.take_memory`."""
        self._call("take_memory")

    def sft_steps(self, batch: ray.ObjectRef | TokenSequences, rows_per_step: Sequence[Int64]) -> list[SftMetrics]:
        """See `actors.learner.sft`. If a batch is used more than once, put it in the object store first."""
        return self._call("sft_steps", batch, _rows(rows_per_step))[0]

    def start_grpo_step(
        self, batches: Sequence[ray.ObjectRef[TrajectoryBatch]], step: GrpoStep
    ) -> PendingCall[GrpoMetrics]:
        """Begin a step of `actors.learner.grpo` and return at once. Its rows are numbered over all `batches`, in order.

        Later calls of this group begin when the step is done.
        """
        return self._start("grpo_step", list(batches), step)

    def weights(self) -> ray.ObjectRef:
        """Return a reference to all weights by name, as `Trainer.weights` returns them. It is valid while rank 0 lives."""
        return self._call("weights")[0][0]

    def probe_text(self) -> TokenSequences:
        """Return a few rows of random tokens, see `actors.learner.fidelity`."""
        return self._call("probe_text")[0]

    def logprobs(self, text: TokenSequences) -> Float32:
        """Return [N] the log-probs of the targets of `text`, at temperature 1, and 0 elsewhere."""
        return self._call("logprobs", text)[0]

    def gpus(self) -> set[str]:
        """Return the GPUs of all ranks, as `own_gpus` names them."""
        return set().union(*self._call("gpus"))

    def connect_engines(
        self, backend: WeightBackend, engines: Mapping[str, ActorHandle[Any]], in_flight: InFlight, seconds: float
    ) -> None:
        """Leave any earlier transfer, and connect to the rollout actors `engines`, by their names, over `backend`.

        `in_flight` says what happens to the engines' turns that are being written when weights arrive. `seconds` is
        rollout.deadline_s. Raises `DeadlineError`, which names the engines that do not answer.
        """
        from actors.learner.weight_sender import EngineClient

        asked, what = [engine.gpus.remote() for engine in engines.values()], "asking the rollout engines for their GPUs"
        gpus = results(asked, what, seconds, ROLLOUT_DEADLINE, names=list(engines))
        client = EngineClient(backend, engines, [len(own) for own in gpus], in_flight, deadline_s=seconds)
        self._start("connect_engines", client, by=(seconds + _FOR_THE_RANK_S, ROLLOUT_DEADLINE)).results()

    def send_weights(self, version: int, seconds: float) -> None:
        """Send the weights, as policy `version`, to the engines of the last `connect_engines`. Returns when they have them.

        `seconds` is rollout.deadline_s. Raises `DeadlineError`, which names the engines that do not answer.
        """
        self._start("send_weights", version, by=(seconds + _FOR_THE_RANK_S, ROLLOUT_DEADLINE)).results()

    def export_into(self, folder: Path) -> None:
        """Write the model's files, as `Trainer.export` does, into a folder that exists."""
        weights = folder / "weights"
        self._call("export", str(weights))
        for file in weights.iterdir():
            file.rename(folder / file.name)
        weights.rmdir()

    def save_state(self, path: str) -> None:
        """See `Trainer.save_state`."""
        self._call("save_state", path)

    def load_state(self, path: str) -> None:
        """See `Trainer.load_state`."""
        self._call("load_state", path)

    def shutdown(self) -> None:
        """End all ranks."""
        import ray

        for actor in self._ranks:
            ray.kill(actor)
        self._ranks = []

    def _call(self, method: str, *arguments: object) -> list[Any]:
        """Call `method` on all ranks at once; return their results by rank."""
        return self._start(method, *arguments).results()

    def _start(self, method: str, *arguments: object, by: tuple[float, str] | None = None) -> PendingCall[Any]:
        """Begin a call on all ranks. `by` is its deadline in seconds and that deadline's key, if not learner.deadline_s."""
        if not self._ranks:
            raise LearnerError(f"{method}: the learner is shut down")
        name = task_name(_SHOWN_AS.get(method, method))
        calls = [getattr(rank, method).options(name=name).remote(*arguments) for rank in self._ranks]
        return PendingCall(method, calls, *(by or (self._deadline_s, _DEADLINE)), self._ranks)


def _without_traceback(error: LearnerRefusal | DeadlineError) -> LearnerRefusal | DeadlineError:
    """Return the exception that the rank raised. Ray's exception has the rank's whole traceback as its message."""
    cause = as_raised(error)
    return cause if isinstance(cause, LearnerRefusal | DeadlineError) else error


def _rows(groups: Sequence[Int64]) -> list[Int64]:
    return [np.asarray(rows, np.int64) for rows in groups]
