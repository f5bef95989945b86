"""The Slurm script: its options are Slurm's, it passes ShellCheck, and a stopped job goes on where it was."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.placement import total
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from tests.cluster.slurm.stand_ins import install

REPOSITORY = Path(__file__).parents[3]
SCRIPT = REPOSITORY / "cluster" / "slurm" / "relayllm.sbatch"
DURATION = r"(\d+-)?\d{1,2}(:\d{2}){0,2}|\d+"


def duration(text: str) -> str:
    if not re.fullmatch(DURATION, text):
        raise ValueError(text)
    return text


def stop_signal(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:([RB]+):)?(?:SIG)?([A-Z0-9]+)(?:@(\d+))?", text)
    if found is None or not hasattr(signal, f"SIG{found[2]}"):
        raise ValueError(text)
    return found[1] or "", int(found[3] or 60)


def options() -> argparse.Namespace:
    """Return the script's options. The parser knows those of `man sbatch` that the script may use, and their values' forms."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for name in ("job-name", "output", "mem"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--time", type=duration, required=True)
    parser.add_argument("--signal", type=stop_signal, required=True)
    parser.add_argument("--open-mode", choices=["append", "truncate"])
    parser.add_argument("--requeue", action="store_true")
    head = SCRIPT.read_text().partition("\nset -")[0]
    return parser.parse_args(shlex.split(" ".join(re.findall(r"^#SBATCH (.+)$", head, re.MULTILINE))))


def test_all_options_stand_where_slurm_reads_them() -> None:
    """Slurm reads them up to the first line that is neither empty nor a comment."""
    text = SCRIPT.read_text()
    assert text.count("\n#SBATCH ") == text.partition("\nset -")[0].count("\n#SBATCH ") == len(vars(options()))


def test_the_run_is_asked_to_stop_before_the_limit_and_the_job_can_be_requeued() -> None:
    to, seconds = options().signal
    assert to == "B" and seconds >= 120  # the batch script alone gets it, not Ray
    assert options().requeue and options().open_mode == "append"


def test_a_node_offers_what_the_papers_runs_reserve() -> None:
    cpus, gpus = total(load(REPOSITORY / "experiments" / "paper" / "relay.yaml", [], Experiment).bundles())
    assert options().nodes * options().gpus_per_node == gpus
    assert options().nodes * options().cpus_per_task >= cpus
    assert options().ntasks_per_node == 1


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


class Job:
    """The script as a job with two nodes, of which this machine is both."""

    def __init__(self, folder: Path) -> None:
        self.repository, self.log = install(folder), folder / "slurm.log"
        self.steps = folder / "run" / "steps"
        self.steps.parent.mkdir()
        (self.repository / "x.yaml").write_text("name: x\n")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SLURM_"))}
        self.environment = kept | dict(
            PATH=f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            SLURM_LOG=str(self.log),
            SLURM_SUBMIT_DIR=str(self.repository),
            SLURM_JOB_ID=str(os.getpid()),
            SLURM_JOB_NODELIST="one,two",
            SLURM_JOB_NUM_NODES="2",
            SLURM_CPUS_PER_TASK="2",
        )

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(SCRIPT), "x.yaml", f"run_dir={self.steps.parent}"],
            env=self.environment,
            cwd=self.steps.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def rays(self) -> list[str]:
        """Return the heads of the job that still run."""
        port = 20000 + int(self.environment["SLURM_JOB_ID"]) % 1000 * 10
        arguments = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        return [line for line in arguments if "gcs_server" in line and f"={port}" in line]

    def has_steps(self, count: int) -> bool:
        return self.steps.exists() and len(self.steps.read_text().split()) >= count


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_asked_to_stop_is_requeued_goes_on_and_leaves_no_ray_behind(tmp_path: Path) -> None:
    job = Job(tmp_path)
    process = job.start()
    try:
        while process.poll() is None and not job.has_steps(3):
            time.sleep(0.1)
    finally:
        process.terminate()
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 143, printed
    assert "run x.yaml: from step 0 on, with 4 CPUs" in printed
    assert job.log.read_text().splitlines()[-1] == f"scontrol requeue {os.getpid()}"
    assert not job.rays()

    again, _ = job.start().communicate(timeout=300)
    assert "run x.yaml: from step 3 on, with 4 CPUs" in again
    assert job.steps.read_text().split() == [str(step) for step in range(1, 11)]
    assert job.log.read_text().count("requeue") == 1
    assert not job.rays()
