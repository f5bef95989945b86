"""What each API key used on each day, in an SQLite file that several processes share. No budget is ever overdrawn."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from actors.serving.guards.amounts import Amounts, Limits

_VERSION = 1
_BUSY_S = 30.0
_KEPT_S = 2 * 86400.0
"""after its expiry, a reservation is remembered so long, because its answer may still end"""
_TABLES = """
CREATE TABLE IF NOT EXISTS used (
    day TEXT NOT NULL, key TEXT NOT NULL, requests INTEGER NOT NULL, teacher_tokens INTEGER NOT NULL, cost_micro INTEGER NOT NULL,
    PRIMARY KEY (day, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reserved (
    id TEXT PRIMARY KEY, day TEXT NOT NULL, key TEXT NOT NULL, teacher_tokens INTEGER NOT NULL, cost_micro INTEGER NOT NULL,
    expires_s REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reserved_of_key ON reserved (day, key);
"""
_COLUMNS = "teacher_tokens, cost_micro"


class LedgerError(RuntimeError):
    """The ledger's file cannot be used. The message names it."""


class BudgetSpentError(Exception):
    """A day's budget leaves nothing of an amount that is needed."""

    def __init__(self, key: str, amount: str, limit: int, spent: bool, until_midnight_s: float) -> None:
        super().__init__(f"{key}: {amount}: {limit}")
        self.key, self.amount, self.limit = key, amount, limit
        self.spent = spent
        """True: it is used up for the day. False: requests under way hold the rest"""
        self.until_midnight_s = until_midnight_s


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is set aside for one request. It ends with `Ledger.settle`, or by its expiry."""

    id: str
    key: str
    day: str
    amounts: Amounts


class Ledger:
    """Reserves before an answer, and settles after it. Threads and processes may share one file on a local disk.

    Every change is one transaction that holds SQLite's write lock from its first read on, and is on disk when it returns.
    A day is a day in UTC; an answer counts for the day on which it was reserved.
    """

    def __init__(self, path: Path, reservation_s: float, now: Callable[[], float] = time.time) -> None:
        """Open the file, and make it if it is missing. `now` returns seconds since 1970. Raises `LedgerError`."""
        self._path = path
        self._reservation_s = reservation_s
        self._now = now
        self._local = threading.local()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        with self._transaction() as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise LedgerError(
                    f"{path}: should be a ledger of version {_VERSION}, and is of version {version}: choose another guards.ledger"
                )
            for statement in filter(str.strip, _TABLES.split(";")):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {_VERSION}")

    def reserve(self, key: str, limits: Limits, wanted: Amounts) -> Reservation:
        """Set aside what a request may use at most, or the day's rest where that is less.

        Where there is no limit, the wanted amount is set aside. Raises `BudgetSpentError` if an amount that is wanted has no
        rest at all; nothing is set aside then.
        """
        now = self._now()
        day = day_of(now)
        with self._transaction() as database:
            used = _used(database, key, day)
            held = _held(database, key, day, now)
            granted = {}
            for name in ("requests", "teacher_tokens", "cost_micro"):
                most: int | None = getattr(limits, name)
                need: int = getattr(wanted, name)
                if most is None or not need:
                    granted[name] = need
                    continue
                left = most - getattr(used, name) - getattr(held, name)
                if left <= 0:
                    spent = most <= getattr(used, name)
                    raise BudgetSpentError(key, name, most, spent, seconds_to_midnight(now))
                granted[name] = min(need, left)
            reservation = Reservation(uuid4().hex, key, day, Amounts(**granted))
            database.execute(
                "INSERT INTO reserved VALUES (?, ?, ?, ?, ?, ?)",
                (reservation.id, day, key, granted["teacher_tokens"], granted["cost_micro"], now + self._reservation_s),
            )
            database.execute("DELETE FROM reserved WHERE expires_s < ?", (now - _KEPT_S,))
        return reservation

    def settle(self, reservation: Reservation, used: Amounts) -> bool:
        """Count what an answer used in place of what was set aside for it. Return False if that was done before.

        What was used counts in full, also past the reservation or after its expiry.
        """
        with self._transaction() as database:
            if not database.execute("DELETE FROM reserved WHERE id = ?", (reservation.id,)).rowcount:
                return False
            database.execute(
                "INSERT INTO used VALUES (?, ?, ?, ?, ?) ON CONFLICT (day, key) DO UPDATE SET requests = requests + excluded.requests, "
                "teacher_tokens = teacher_tokens + excluded.teacher_tokens, cost_micro = cost_micro + excluded.cost_micro",
                (reservation.day, reservation.key, used.requests, used.teacher_tokens, used.cost_micro),
            )
        return True

    def release(self, reservation: Reservation) -> bool:
        """Free what was set aside for a request that used nothing. Return False if the reservation has ended before."""
        return self.settle(reservation, Amounts())

    def used(self, key: str, day: str | None = None) -> Amounts:
        """Return what a key used on a day such as `2026-01-31`; today if there is none given."""
        with self._transaction() as database:
            return _used(database, key, day or day_of(self._now()))

    def held(self, key: str) -> Amounts:
        """Return what is set aside today for a key's requests under way."""
        now = self._now()
        with self._transaction() as database:
            return _held(database, key, day_of(now), now)

    def close(self) -> None:
        """Close this thread's connection."""
        connection, self._local.connection = getattr(self._local, "connection", None), None
        if connection is not None:
            connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield this thread's connection, in a transaction that no other one can interleave with. Raises `LedgerError`."""
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> LedgerError:
        return LedgerError(f"{self._path}: cannot be used as a ledger: {error}; see guards.ledger")

    def _connection(self) -> sqlite3.Connection:
        """Return the connection of this thread in this process: a forked child must not use its parent's."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None or self._local.process != os.getpid():
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection, self._local.process = connection, os.getpid()
        return connection


def day_of(seconds: float) -> str:
    """Return the day in UTC of a time in seconds since 1970, as `2026-01-31`."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def seconds_to_midnight(seconds: float) -> float:
    """Return how long it is until the next day in UTC begins."""
    now = datetime.fromtimestamp(seconds, UTC)
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    return (midnight - now).total_seconds()


def _used(database: sqlite3.Connection, key: str, day: str) -> Amounts:
    row = database.execute(f"SELECT requests, {_COLUMNS} FROM used WHERE day = ? AND key = ?", (day, key)).fetchone()
    return Amounts() if row is None else Amounts(requests=row[0], teacher_tokens=row[1], cost_micro=row[2])


def _held(database: sqlite3.Connection, key: str, day: str, now: float) -> Amounts:
    count, tokens, cost = database.execute(
        "SELECT count(*), coalesce(sum(teacher_tokens), 0), coalesce(sum(cost_micro), 0) FROM reserved "
        "WHERE day = ? AND key = ? AND expires_s > ?",
        (day, key, now),
    ).fetchone()
    return Amounts(requests=count, teacher_tokens=tokens, cost_micro=cost)
