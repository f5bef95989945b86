"""A connection to a Ray cluster: the one that is given, or a local one that ends with the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

VERBOSE = "RELAYLLM_VERBOSE"
"""a variable; set, everything that Ray, vLLM and the actors write comes to the driver's screen"""


def verbose() -> bool:
    """Whether the user wants to see what Ray, vLLM and the actors write; it is in Ray's logs in any case."""
    return bool(os.environ.get("RELAYLLM_VERBOSE"))


@contextmanager
def ray_session(namespace: str, address: str | None, cpus_needed: float, gpus_needed: float) -> Iterator[str]:
    """Connect to the cluster at `address` (or RAY_ADDRESS), or start a local one; disconnect at the end.

    Gives the address at which other processes of this machine may join while the block lasts. A local cluster offers at
    least `cpus_needed` logical CPUs: on a laptop the actors share the cores. The driver's import path travels to the
    workers, so the code need not be installed on them.
    """
    import ray

    address = address or os.environ.get("RAY_ADDRESS")
    runtime_env = {
        "env_vars": {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    }
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
