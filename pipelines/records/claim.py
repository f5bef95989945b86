"""The claim of a folder's one driver: a lock for this machine, and a lease for the machines that the lock does not reach."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from cluster.files import make_directory
from cluster.store.errors import StoreError
from cluster.store.folder import FolderObjects, boot_id
from cluster.store.lease import Lease, LeaseHeldError, LeaseTimes

logger = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""what a mount without file locks answers, as some of NFS"""


class ClaimError(RuntimeError):
    """The folder is another driver's, or nothing can be written to it."""


def end_this_run(taken_over: str) -> None:
    """End this process's run in order, as SIGTERM does: another driver has taken it over."""
    logger.error("this run ends here, since another driver has taken it over: %s", taken_over)
    os.kill(os.getpid(), signal.SIGTERM)


class Claim:
    """Makes one process the driver of a folder, from `take` to `release` or to its own end."""

    def __init__(
        self, folder: Path, lost: Callable[[str], None] = end_this_run, times: LeaseTimes | None = None
    ) -> None:
        self.folder, self.file = folder, folder / "run.lock"
        self._lost, self._times = lost, times
        self._lock: int | None = None
        self._lease: Lease | None = None

    def take(self) -> None:
        """Take the claim. Does nothing if this object has it. Raises `ClaimError`, which names the process that has it.

        A claim ends with its process, even by a kill. If that was on another machine, this waits until its lease is over.
        """
        if self._lock is not None:
            return
        make_directory(self.folder)
        try:
            lock = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:  # a folder of somebody else, or a disk that is read-only
            raise ClaimError(f"{self.file}: cannot be written: {error.strerror}") from error
        try:
            self._hold(lock)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def release(self) -> None:
        """Give the claim up, if this object has it."""
        if self._lock is None:
            return
        if self._lease is not None:
            self._lease.release()
        os.close(self._lock)
        self._lock = self._lease = None

    def _hold(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            reach = boot_id()
        except BlockingIOError as error:
            holder = os.read(lock, 256).decode(errors="replace").strip() or "unknown"
            raise ClaimError(f"{self.folder}: in use by another driver ({holder})") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            reach = secrets.token_hex(16)  # the lease alone keeps drivers apart, on one host too
        try:
            os.ftruncate(lock, 0)
            os.write(lock, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            raise ClaimError(f"{self.file}: cannot be written: {error.strerror}") from error
        lease = Lease(FolderObjects(self.folder), reach, self._lost, self._times)
        try:
            lease.acquire()
        except LeaseHeldError as error:
            raise ClaimError(f"{self.folder}: {error}") from error
        except StoreError as error:
            raise ClaimError(str(error)) from error
        self._lease = lease
