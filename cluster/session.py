"""Connects to a given Ray cluster, or starts a local one that ends with the run."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cluster.driver_environment import passed_on, worker_setup
from cluster.errors import ClusterError
from cluster.own_ray import keep_token_private, on_loopback
from cluster.starting import told_while

VERBOSE = "RELAYLLM_VERBOSE"
"""environment variable; if it is set, all output of Ray, vLLM and the actors appears on the driver's terminal"""

_START_TOO_SLOW = "timed out during startup"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""signals that ask a run to stop"""


def address_of(setting: str | None) -> str | None:
    """Return the address of the cluster to join: the setting, else RAY_ADDRESS; None for a local cluster."""
    return setting or os.environ.get("RAY_ADDRESS") or None


def verbose() -> bool:
    """Return whether the output of Ray, vLLM and the actors appears on the terminal. It is in Ray's logs in any case."""
    return bool(os.environ.get(VERBOSE))


@contextmanager
def ray_session(
    namespace: str, address: str | None, cpus_needed: float, gpus_needed: float, variables: Collection[str] = ()
) -> Iterator[str]:
    """Connect to the cluster at `address` (or RAY_ADDRESS), or start a local one; disconnect at the end.

    Yields the address at which other processes of this machine can join during the block. A local cluster offers at least
    `cpus_needed` logical CPUs, so that a run also starts on a laptop, where the actors share the cores. It listens on loopback and
    asks for a token (`cluster.own_ray`). Workers get the
    driver's import path, so the code need not be installed on them. They also get the variables of
    `cluster.driver_environment`, and those named by `variables`. Raises `ClusterError` if a local cluster does not come up.
    """
    import ray

    address = address_of(address)
    runtime_env = {
        "env_vars": {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)},
        "worker_process_setup_hook": worker_setup(passed_on(os.environ, Path.cwd(), variables)),
    }
    with ExitStack() as until_the_end:
        with _own_signal_handlers(), told_while("Ray is not up yet"), _start_in_time():
            if address:
                ray.init(address=address, namespace=namespace, runtime_env=runtime_env, log_to_driver=verbose())
            else:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                keep_token_private()
                until_the_end.enter_context(on_loopback())
                ray.init(
                    address="local",  # otherwise Ray would join the cluster that was last started on this machine
                    namespace=namespace,
                    num_cpus=max(os.cpu_count() or 1, int(cpus_needed + 0.999)),
                    num_gpus=None if gpus_needed else 0,
                    runtime_env=runtime_env,
                    include_dashboard=True,
                    logging_level=logging.INFO if verbose() else logging.WARNING,
                    log_to_driver=verbose(),
                )
        until_the_end.callback(ray.shutdown)
        yield address or ray.get_runtime_context().gcs_address


@contextmanager
def _start_in_time() -> Iterator[None]:
    """Raise `ClusterError` if the block's start of Ray takes longer than Ray allows. It raises a bare Exception itself."""
    try:
        yield
    except Exception as error:
        if _START_TOO_SLOW not in str(error):
            raise
        raise ClusterError(
            "Ray did not come up within the 30 s that it gives its processes: this machine is busy with something else. Try "
            "again when it is less so, or start Ray first (ray start --head) and set RAY_ADDRESS"
        ) from error


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Restore this process's signal handlers after the block, because Ray installs its own, which end the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
