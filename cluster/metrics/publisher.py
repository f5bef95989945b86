"""Publishes what a process counts, every few seconds, in a thread of its own.

The code that does the work only counts. No metric of Ray is touched while a token is written.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from cluster.memory_use import memory_use
from cluster.metrics.registry import EXPORTED

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a metric of `EXPORTED`."""

    name: str
    value: float
    """a gauge's value, a counter's count since the process began, or one new observation of a histogram"""
    tags: Mapping[str, str] = field(default_factory=dict)
    """the metric's own tags, without `COMMON_TAGS`"""


Read = Callable[[], Iterable[Reading]]
"""returns what a process shows now; it is called in the publisher's thread"""


class Sink(Protocol):
    """Where metrics go."""

    def set(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        """Set a gauge."""
        ...

    def add(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        """Add to a counter; `value` is above 0."""
        ...

    def observe(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        """Add an observation to a histogram."""
        ...


@dataclass(frozen=True, slots=True)
class Publishing:
    """What a process needs to publish. It may be sent to an actor."""

    run: str
    actor: str
    every_s: float

    @property
    def role(self) -> str:
        """The actor's name without its number."""
        name, _, number = self.actor.rpartition("-")
        return name if name and number.isdigit() else self.actor


class Publisher:
    """Brings readings to a sink: once by `publish`, or regularly between `start` and `stop`."""

    def __init__(self, publishing: Publishing, read: Read, sink: Sink) -> None:
        self._read, self._sink, self._every_s = read, sink, publishing.every_s
        self._common = {"run": publishing.run, "actor": publishing.actor}
        self._counted: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._failed = False

    def publish(self) -> None:
        """Bring all readings of this moment to the sink. Values that are not finite are left out."""
        for reading in self._read():
            if math.isfinite(reading.value):
                self._bring(reading)

    def start(self) -> None:
        """Publish regularly. A failure is logged once, and never reaches the process's own work."""
        self._thread.start()

    def stop(self) -> None:
        """Publish a last time, and end the thread. Ray may still export the values a little later."""
        self._stop.set()
        self._thread.join()

    def _bring(self, reading: Reading) -> None:
        name, tags = reading.name, {**self._common, **reading.tags}
        match EXPORTED[name].kind:
            case "gauge":
                self._sink.set(name, reading.value, tags)
            case "histogram":
                self._sink.observe(name, reading.value, tags)
            case "counter":
                key = name, tuple(sorted(reading.tags.items()))
                if (more := reading.value - self._counted.get(key, 0.0)) > 0:
                    self._sink.add(name, more, tags)
                    self._counted[key] = reading.value

    def _run(self) -> None:
        while True:
            last = self._stop.is_set()
            try:
                self.publish()
            except Exception:
                if not self._failed:
                    logger.warning("metrics could not be published; later failures are not told", exc_info=True)
                self._failed = True
            if last:
                return
            self._stop.wait(self._every_s)


def publish_actor(publishing: Publishing | None, *reads: Read) -> None:
    """Publish from this actor until its process ends, with its memory; does nothing without `publishing`."""
    if publishing is not None:
        _to_ray(publishing, *reads, lambda: memory_readings(actor=True)).start()


@contextmanager
def published(publishing: Publishing | None, *reads: Read) -> Iterator[None]:
    """Publish from this process during the block; does nothing without `publishing`."""
    if publishing is None:
        yield
        return
    publisher = _to_ray(publishing, *reads)
    publisher.start()
    try:
        yield
    finally:
        publisher.stop()


def _to_ray(publishing: Publishing, *reads: Read) -> Publisher:
    from cluster.metrics.ray_sink import RaySink

    return Publisher(publishing, lambda: (reading for read in reads for reading in read()), RaySink())


def memory_readings(actor: bool = False) -> Iterator[Reading]:
    """Yield the memory of this process, and of its children if it is an actor."""
    yield Reading("relayllm_memory_bytes", float(memory_use(actor or None).own_bytes))
