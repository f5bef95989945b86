"""The process group that a learner rank belongs to."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

from actors.learner.operator import load_operator
from cluster.devices import Device
from cluster.ports import free_port

if TYPE_CHECKING:
    from torch.distributed import TCPStore

_LOOPBACK = "127.0.0.1"


def init_distributed(rank: int, world_size: int, master_addr: str, master_port: int, device: Device) -> None:
    """Join the learner's process group: gloo on CPUs, NCCL on GPUs. Call it once in a process, before making a `Trainer`.

    A process sees one device, so its local rank is 0. The function sets the variables that DeepSpeed reads: RANK,
    WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT and, on the CPU, DS_ACCELERATOR. On the CPU, the first call on a
    machine takes about a minute: DeepSpeed compiles a small operator (`actors.learner.operator`). Raises RuntimeError if ranks
    are missing.
    """
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": "0",
        "MASTER_ADDR": master_addr,
        "MASTER_PORT": str(master_port),
    }
    if device is Device.CPU:
        os.environ["DS_ACCELERATOR"] = "cpu"
        load_operator()
    import deepspeed
    import torch
    from deepspeed import comm
    from deepspeed.constants import default_pg_timeout

    if not torch.distributed.is_initialized():
        if device is Device.CPU and master_addr == _LOOPBACK:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else it listens where the machine's name leads
        torch.distributed.init_process_group(
            device.collective_backend,
            store=_meeting_place(rank, world_size, master_addr, master_port, default_pg_timeout),
            rank=rank,
            world_size=world_size,
            timeout=default_pg_timeout,
        )
    deepspeed.init_distributed(dist_backend=device.collective_backend, auto_mpi_discovery=False, verbose=False)
    ready = torch.ones(1, device=device.torch_name)
    comm.all_reduce(ready)
    if int(ready.item()) != world_size:
        raise RuntimeError(f"the process group has {int(ready.item())} ranks, not {world_size}")


def _meeting_place(rank: int, world_size: int, address: str, port: int, timeout: timedelta) -> TCPStore:
    """Return the store at which the ranks meet. Rank 0 has it listen at `address` alone: by itself, it would on all networks."""
    from torch.distributed import TCPStore

    if rank > 0:
        return TCPStore(address, port, world_size, is_master=False, timeout=timeout)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family)
    return TCPStore(address, port, world_size, is_master=True, timeout=timeout, master_listen_fd=listener.detach())


def warm_up_operator() -> None:
    """Make DeepSpeed compile its operator, by joining a process group of one rank and leaving it."""
    init_distributed(0, 1, "127.0.0.1", free_port(), Device.CPU)
    from deepspeed import comm

    comm.destroy_process_group()  # otherwise its threads may outlive the interpreter, which then aborts


if __name__ == "__main__":
    warm_up_operator()
