"""A recorded teacher: answers are kept in a folder, and a call that was made before is not made again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np

from actors.engines.base import Engine, Generation, GenerationRequest, OnTokens, StopReason
from cluster.errors import RunError

logger = logging.getLogger(__name__)

FILE = "answers.sqlite"
_WAIT_S = 60.0
"""how long one process waits while another writes"""
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  key BLOB PRIMARY KEY, token_ids BLOB NOT NULL, stop INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL
) WITHOUT ROWID
"""
_FIND = "SELECT token_ids, stop, prompt_tokens, cached_tokens FROM answers WHERE key = ?"
_ADD = "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)"


class RecordingError(RunError):
    """The folder `teacher.cache` cannot be used; the message says why."""


class RecordedEngine:
    """An `Engine` that asks another one only for what the recording lacks. Several processes may use one recording.

    An answer's key is the model, the context, the sampling, the seed and the most tokens. Greedy calls and calls with a seed
    are recorded. A call that draws tokens without a seed is always made, and its answer is not recorded: else all samples of
    a prompt would be the same.
    """

    def __init__(self, engine: Engine, folder: Path, model: str) -> None:
        """`model` names the teacher with all that its answers depend on. Raises `RecordingError`."""
        self._engine, self._model = engine, model
        self._path = folder / FILE
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorded-teacher")
        self._complained = False
        self.hits = 0
        self.calls = 0
        """turns of the other engine"""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
            self._database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise RecordingError(
                f"teacher.cache: {self._path} cannot be used: {error}; choose another folder"
            ) from error

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return the recorded turn, or the engine's. Raises the engine's `EngineError`; failures are not recorded."""
        if not _is_repeatable(request):
            self.calls += 1
            return await self._engine.generate(request, on_tokens)
        key, loop = self._key(request), asyncio.get_running_loop()
        found = await loop.run_in_executor(self._thread, self._find, key)
        if found is not None:
            self.hits += 1
            if on_tokens is not None:
                on_tokens(found.token_ids.tolist(), found.logprobs.tolist())
            return found
        self.calls += 1
        written = await self._engine.generate(request, on_tokens)
        kept = await loop.run_in_executor(self._thread, self._record, key, written)
        # Another process may have recorded another answer meanwhile. A repeated run finds that one, so it counts.
        return kept if on_tokens is None else written

    def close(self) -> None:
        """Close the recording."""
        self._thread.shutdown()
        self._database.close()

    def _key(self, request: GenerationRequest) -> bytes:
        conversation = request.conversation
        described = [
            self._model,
            request.sampling.model_dump(mode="json"),
            None if request.sampling.greedy else request.seed,
            request.max_tokens,
            request.stop_text,
            request.excluded,
            None if conversation is None else asdict(conversation),
        ]
        key = hashlib.sha256(json.dumps(described).encode())
        if conversation is None:
            key.update(np.asarray(request.prompt_ids, np.int64).tobytes())
        return key.digest()

    def _find(self, key: bytes) -> Generation | None:
        try:
            with closing(self._database.execute(_FIND, (key,))) as rows:
                row = rows.fetchone()
        except sqlite3.Error as error:
            self._complain(error)
            return None
        return None if row is None else _generation(*row)

    def _record(self, key: bytes, written: Generation) -> Generation:
        """Record a turn and return it, or the turn that is recorded already."""
        row = (
            key,
            written.token_ids.astype(np.int32).tobytes(),
            int(written.stop),
            written.prompt_tokens,
            written.cached_tokens,
        )
        try:
            if self._database.execute(_ADD, row).rowcount:
                return written
        except sqlite3.Error as error:  # the answer is there and may have cost money, so it is used all the same
            self._complain(error)
            return written
        return self._find(key) or written

    def _complain(self, error: sqlite3.Error) -> None:
        if not self._complained:
            self._complained = True
            logger.warning("teacher.cache: %s fails, so calls are made without it: %s", self._path, error)


def _is_repeatable(request: GenerationRequest) -> bool:
    return not request.want_logprobs and (request.sampling.greedy or request.seed is not None)


def _generation(ids: bytes, stop: int, prompt_tokens: int, cached_tokens: int) -> Generation:
    tokens = np.frombuffer(ids, np.int32)
    return Generation(
        token_ids=tokens,
        logprobs=np.zeros(len(tokens), np.float32),
        versions=np.full(len(tokens), -1, np.int32),
        stop=StopReason(stop),
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
    )
