"""Stand-ins for Slurm's commands, as executables: each does on this machine what the job script needs of it."""

from __future__ import annotations

import sys
from pathlib import Path

SRUN = """\
#!/bin/bash
# Runs the command once, as if on the one other node. Ray calls that node by another name.
echo "srun $*" >> "$SLURM_LOG"
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """\
#!/bin/bash
echo "scontrol $*" >> "$SLURM_LOG"
if [ "$1 $2" = "show hostnames" ]; then tr , '\\n' <<< "$3"; fi
"""
SQUEUE = """\
#!/bin/bash
echo "${SLURM_JOB_STATE:-RUNNING}"
"""
DRIVER = '''\
"""Stands in for the driver: it counts on in its run directory, one step a line, until it is asked to stop or has ten."""

import signal
import sys
from pathlib import Path
from threading import Event

import ray

stopped = Event()
command, experiment, run_dir = sys.argv[1:]
ray.init(log_to_driver=False)
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
steps = Path(run_dir.removeprefix("run_dir=")) / "steps"
done = len(steps.read_text().split()) if steps.exists() else 0


@ray.remote(num_cpus=2)
def node() -> str:
    return ray.get_runtime_context().get_node_id()


with steps.open("a") as file:
    print(f"{command} {experiment}: from step {done} on, with {ray.cluster_resources()['CPU']:g} CPUs", flush=True)
    while done < 10 and not stopped.is_set():
        ray.get(node.remote())
        done += 1
        print(done, file=file, flush=True)
        if done == 3:
            stopped.wait(120)
sys.exit(143 if stopped.is_set() else 0)
'''


def install(folder: Path) -> Path:
    """Write the commands, and a repository with a driver that stands in, into `folder`. Returns that repository."""
    programs, repository = folder / "bin", folder / "repository"
    programs.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "squeue": SQUEUE}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (repository / "pipelines").mkdir(parents=True)
    (repository / "pipelines" / "__main__.py").write_text(DRIVER)
    (repository / ".venv").symlink_to(Path(sys.executable).parents[1])
    return repository
