"""Writes a run's metrics: always to metrics.jsonl, and to Weights & Biases if that works."""

from __future__ import annotations

import logging
import math
import netrc
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, SupportsFloat, TypeAlias, cast
from urllib.parse import urlsplit

from cluster.metrics.publisher import Reading
from pipelines.experiment.alarms import AlarmEvent, AlarmSettings, event_text
from pipelines.experiment.tracking import TrackingSettings
from pipelines.records.last_values import LastValues
from pipelines.records.run_directory import RunDirectory
from pipelines.records.traces import Trace

if TYPE_CHECKING:
    import wandb

    from pipelines.records.evaluations import Evaluation

logger = logging.getLogger(__name__)

Mode: TypeAlias = Literal["online", "offline", "disabled"]

_MODES: Mapping[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""values that WANDB_MODE may have, in lower or upper case, and the mode that each means"""
_TRUE = ("1", "true", "yes", "on")

WANDB_ID = "wandb_id"
TRACES = "traces.jsonl"


class Tracker:
    """Writes the numbers of one run, as a context manager. If W&B fails, there is a warning but never an error."""

    def __init__(
        self,
        run: RunDirectory,
        settings: TrackingSettings,
        config: Mapping[str, object],
        *,
        alarms: AlarmSettings | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Continue the run's metrics if it has any. W&B shows `config` beside them."""
        from pipelines.records.alarm_log import AlarmLog  # loads pyarrow, which the schema and --help do not need

        environ = os.environ if environ is None else environ
        self._run = run
        self._clock = clock
        self._started_s = clock() - _last_time_s(run)
        self._not_finite: set[str] = set()
        self._stages: set[str] = set()
        self._last = LastValues()
        self._alarms = AlarmLog(run, alarms or AlarmSettings())
        self._last.alarms(self.open_alarms)
        self._wandb: wandb.Run | None = None
        mode = resolve_mode(settings.mode, environ)
        if mode != "disabled":
            self._wandb = self._start_wandb(mode, settings, config, environ)

    def log(self, stage: str, step: int, metrics: Mapping[str, SupportsFloat]) -> list[AlarmEvent]:
        """Record the metrics of one step of a stage, under their names in `pipelines.records.metrics.METRICS`.

        Return the alarms that begin or end with it. NaN and infinity become null in metrics.jsonl, with a warning the
        first time. After a resume a step may be logged again: `read_metrics` takes the later values.
        """
        values = {name: float(value) for name, value in metrics.items()}
        for name in [name for name, value in values.items() if not math.isfinite(value)]:
            if (key := f"{stage}/{name}") not in self._not_finite:
                self._not_finite.add(key)
                logger.warning("%s is %s at step %d; metrics.jsonl has null for it", key, values[name], step)
        written = finite_or_none(values)
        row = {"stage": stage, "step": step, "time_s": self._time_s(), "metrics": written}
        self._run.append_jsonl(self._run.metrics.name, row)
        self._last.logged(stage, step, values)
        self._send(stage, step, values)
        events = self._alarms.step(stage, step, written)
        self._send_alarms(events)
        return events

    def rolled_back(self, stage: str, to: int) -> None:
        """Note that a stage has gone back to step `to`: alarms that have begun since then end."""
        self._send_alarms(self._alarms.rolled_back(stage, to))

    def readings(self) -> Iterator[Reading]:
        """Yield what the run's own metrics show now, for Prometheus."""
        return self._last.readings()

    @property
    def open_alarms(self) -> list[AlarmEvent]:
        """The last event of each alarm that has not ended."""
        return self._alarms.open

    def evaluated(self, rows: Sequence[Evaluation]) -> None:
        """Check an evaluation for alarms; `rows` are one policy's, of all kinds."""
        self._send_alarms(self._alarms.evaluated(rows))

    def log_traces(self, stage: str, step: int, traces: Sequence[Trace]) -> None:
        """Record traces of one step: rows of traces.jsonl, and a table in W&B."""
        for trace in traces:
            self._run.append_jsonl(TRACES, asdict(trace))
        columns: list[str | int] = ["step", "evaluation", "policy", "kind", "problem", "output", "correct"]
        rows = [[step, one.name, one.policy, one.kind, one.problem, one.output, one.correct] for one in traces]
        if self._wandb is not None and rows:
            try:
                import wandb

                table = wandb.Table(columns=columns, data=rows)
            except Exception as error:
                self._lose_wandb(error)
            else:
                self._send(stage, step, {"traces": table})

    def close(self, exit_code: int = 0) -> None:
        """End the W&B run; metrics.jsonl needs no end."""
        if self._wandb is not None:
            try:
                self._wandb.finish(exit_code=exit_code)
            except Exception as error:
                self._lose_wandb(error)
            self._wandb = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(exit_code=0 if error is None else 1)

    def _time_s(self) -> float:
        return round(self._clock() - self._started_s, 3)

    def _send_alarms(self, events: Sequence[AlarmEvent]) -> None:
        """Note which alarms are open, and tell W&B of those that began and ended.

        `alarms/<name>` is 1 or 0 there, and an alarm that begins sends an alert.
        """
        self._last.alarms(self.open_alarms)
        for event in events:
            if self._wandb is None or event.event == "continued":
                continue
            began = event.event == "began"
            self._send("alarms", event.step, {event.alarm: int(began)})
            if began and self._wandb is not None:
                try:
                    self._wandb.alert(title=f"alarm {event.alarm}", text=event_text(event))
                except Exception as error:
                    self._lose_wandb(error)

    def _send(self, stage: str, step: int, values: Mapping[str, object]) -> None:
        """Log to W&B. The stage's own step is the x axis, so that resumed and offline runs need no global step."""
        if self._wandb is None:
            return
        try:
            if stage not in self._stages:
                self._wandb.define_metric(f"{stage}/step", hidden=True)
                self._wandb.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
                self._stages.add(stage)
            self._wandb.log({f"{stage}/step": step, **{f"{stage}/{name}": value for name, value in values.items()}})
        except Exception as error:
            self._lose_wandb(error)

    def _start_wandb(
        self, mode: Mode, settings: TrackingSettings, config: Mapping[str, object], environ: Mapping[str, str]
    ) -> wandb.Run | None:
        """Return the W&B run: offline if it cannot start online, None if it cannot start at all."""
        try:
            if "WANDB_MODE" in os.environ:
                os.environ["WANDB_MODE"] = mode  # W&B reads it too, and refuses to start with `Offline`
            import wandb

            started = wandb.init(
                mode=mode,
                project=settings.project,
                entity=settings.entity,
                group=settings.group,
                name=settings.name or self._run.path.resolve().name,
                tags=settings.tags or None,
                config=dict(config),
                dir=self._run.path,
                id=_wandb_id(self._run, environ),
                resume="allow" if mode == "online" else None,
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off", init_timeout=60.0, finish_timeout=300.0),
            )
        except Exception as error:
            if mode == "online":
                logger.warning("W&B cannot start online, going on offline: %s", error)
                return self._start_wandb("offline", settings, config, environ)
            self._lose_wandb(error)
            return None
        logger.info("W&B run %s", started.dir if mode == "offline" else started.url)
        return started

    def _lose_wandb(self, error: Exception) -> None:
        """Warn and go on without W&B: whatever it raises must not end the run."""
        logger.warning("W&B failed, going on with %s alone: %s", self._run.metrics, error)
        self._wandb = None


def resolve_mode(mode: str, environ: Mapping[str, str]) -> Mode:
    """Return the W&B mode that a setting means in an environment; see `TrackingSettings.mode`.

    A WANDB_MODE that W&B does not know leaves the run offline.
    """
    if mode != "auto":
        return cast(Mode, mode)
    if environ.get("WANDB_DISABLED", "").strip().lower() in _TRUE:
        return "disabled"
    wanted = environ.get("WANDB_MODE", "").strip().lower()
    if wanted in _MODES:
        return _MODES[wanted]
    if wanted:
        logger.warning("WANDB_MODE=%s is none of %s: the run stays offline", environ["WANDB_MODE"], ", ".join(_MODES))
        return "offline"
    return "online" if environ.get("WANDB_API_KEY") or key_in_netrc(environ) is not None else "offline"


def key_in_netrc(environ: Mapping[str, str]) -> str | None:
    """Return the key that `wandb login` has kept for W&B's server; None if there is none."""
    host = urlsplit(environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    file = environ.get("NETRC") or os.path.join(environ.get("HOME", ""), ".netrc")
    try:
        logins = netrc.netrc(file).hosts
    except (OSError, netrc.NetrcParseError):
        return None
    return logins[host][2] if host in logins else None


def finite_or_none(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics as JSON holds them: None in place of NaN and infinity."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def read_metrics(run: RunDirectory, stage: str) -> dict[int, dict[str, float | None]]:
    """Return step -> metrics of a stage, from disk. If a metric was logged twice for a step, the later value counts."""
    steps: dict[int, dict[str, float | None]] = {}
    for row in run.read_jsonl(run.metrics.name):
        step, metrics = row["step"], row["metrics"]
        if row["stage"] == stage and isinstance(step, int) and isinstance(metrics, dict):
            values = {name: value if isinstance(value, int | float) else None for name, value in metrics.items()}
            steps.setdefault(step, {}).update(values)
    return dict(sorted(steps.items()))


def _last_time_s(run: RunDirectory) -> float:
    times = [row.get("time_s") for row in run.read_jsonl(run.metrics.name)]
    return max((time_s for time_s in times if isinstance(time_s, int | float)), default=0.0)


def _wandb_id(run: RunDirectory, environ: Mapping[str, str]) -> str:
    """Return the run's W&B id, kept on disk: its own if it has one, else WANDB_RUN_ID, else a new one.

    A sweep's agent sets WANDB_RUN_ID for one trial. If the trial is a study, whose runs have neighbouring directories,
    only the first run takes the id. Two runs with the same id would overwrite each other.
    """
    path = run.path / WANDB_ID
    given = environ.get("WANDB_RUN_ID", "").strip()
    if kept := _kept_id(path):
        if given not in ("", kept):
            logger.warning("WANDB_RUN_ID=%s is not used: %s goes on as the W&B run %s", given, run.path, kept)
        return kept
    if given and (
        others := [other for other in run.path.resolve().parent.glob(f"*/{WANDB_ID}") if _kept_id(other) == given]
    ):
        logger.warning("WANDB_RUN_ID=%s is not used: it is the W&B id of %s", given, others[0].parent)
        given = ""
    run_id = given or secrets.token_hex(4)
    run.write_text(WANDB_ID, run_id + "\n")
    return run_id


def _kept_id(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""
