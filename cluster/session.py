"""A connection to a Ray cluster: the one that is given, or a local one that ends with the run."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.driver_environment import passed_on, worker_setup

VERBOSE = "RELAYLLM_VERBOSE"
"""a variable; set, everything that Ray, vLLM and the actors write comes to the driver's screen"""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""what asks a run to stop"""


def address_of(setting: str | None) -> str | None:
    """Return the address of the running cluster to join, as the setting or RAY_ADDRESS says; None for a local one."""
    return setting or os.environ.get("RAY_ADDRESS") or None


def verbose() -> bool:
    """Whether the user wants to see what Ray, vLLM and the actors write; it is in Ray's logs in any case."""
    return bool(os.environ.get(VERBOSE))


@contextmanager
def ray_session(namespace: str, address: str | None, cpus_needed: float, gpus_needed: float) -> Iterator[str]:
    """Connect to the cluster at `address` (or RAY_ADDRESS), or start a local one; disconnect at the end.

    Gives the address at which other processes of this machine may join while the block lasts. A local cluster offers at
    least `cpus_needed` logical CPUs: on a laptop the actors share the cores. The driver's import path travels to the
    workers, so the code need not be installed on them; so do the variables of `cluster.driver_environment`.
    """
    import ray

    address = address_of(address)
    runtime_env = {
        "env_vars": {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)},
        "worker_process_setup_hook": worker_setup(passed_on(os.environ, Path.cwd())),
    }
    with _own_signal_handlers():
        if address:
            ray.init(address=address, namespace=namespace, runtime_env=runtime_env, log_to_driver=verbose())
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                address="local",  # else Ray would join whatever cluster was last started on this machine
                namespace=namespace,
                num_cpus=max(os.cpu_count() or 1, int(cpus_needed + 0.999)),
                num_gpus=None if gpus_needed else 0,
                runtime_env=runtime_env,
                include_dashboard=True,
                logging_level=logging.INFO if verbose() else logging.WARNING,
                log_to_driver=verbose(),
            )
    try:
        yield address or ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Put this process's signal handlers back after the block: Ray installs its own, which end the process."""
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
