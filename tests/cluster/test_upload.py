"""What is uploaded of a working directory: what git has or would take, without environments, results, models and passwords."""

import subprocess
from pathlib import Path

import pytest

from cluster.upload import UploadError, chosen


def write(folder: Path, *names: str, size: int = 10) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with one committed file, one new file and one ignored file."""
    git(tmp_path, "init")
    (tmp_path / ".gitignore").write_text("scratch/\n")
    write(tmp_path, "experiments/demo.yaml")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    write(tmp_path, "experiments/new.yaml", "scratch/big")
    return tmp_path


def test_git_decides_and_new_files_belong_to_it(repository: Path) -> None:
    assert set(chosen(repository).sizes) == {".gitignore", "experiments/demo.yaml", "experiments/new.yaml"}


def test_environments_caches_and_results_stay_even_if_git_has_them(repository: Path) -> None:
    left = [
        ".venv/bin/python",
        "runs/demo/metrics.jsonl",
        "wandb/run",
        "actors/__pycache__/a.pyc",
        "envs/mine/pyvenv.cfg",
    ]
    write(repository, *left, "envs/mine/lib/torch.so", "pipelines/runs/kept.py")
    git(repository, "add", "--force", ".")
    git(repository, "commit", "-m", "too much")
    assert set(chosen(repository).sizes) == {
        ".gitignore", "experiments/demo.yaml", "experiments/new.yaml", "pipelines/runs/kept.py", "scratch/big",
    }  # fmt: skip


def test_folders_of_models_stay_and_are_named_but_tiny_models_go_along(tmp_path: Path) -> None:
    write(tmp_path, "exported/demo/config.json", "tiny/model.safetensors", "a.yaml")
    write(tmp_path, "exported/demo/model.safetensors", size=17_000_000)
    upload = chosen(tmp_path)
    assert set(upload.sizes) == {"tiny/model.safetensors", "a.yaml"}
    assert upload.left_out == ("exported/demo/",)
    assert upload.has(Path("tiny")) and not upload.has(Path("exported/demo"))


def test_files_with_passwords_stay_and_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", ".env", ".netrc", "tools/.env.local")
    upload = chosen(tmp_path)
    assert set(upload.sizes) == {"a.yaml"}
    assert set(upload.left_out) == {".env", ".netrc", "tools/.env.local"}


def test_a_directory_that_is_too_large_is_refused_with_its_largest_entries(tmp_path: Path) -> None:
    write(tmp_path, "data/a.jsonl", "data/b.jsonl", size=600)
    write(tmp_path, "notes.txt", "code/a.py", size=50)
    with pytest.raises(UploadError) as refused:
        chosen(tmp_path, most_bytes=1000)
    assert "1.3 kB are too much" in str(refused.value)
    assert "The largest: data/ 1.2 kB, code/ 50 bytes, notes.txt 50 bytes." in str(refused.value)
    assert chosen(tmp_path, most_bytes=1300).size_bytes == 1300


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UploadError, match="nothing to upload"):
        chosen(tmp_path)


def test_equal_files_give_equal_archives(tmp_path: Path) -> None:
    packed = []
    for name in ("first", "second"):
        write(tmp_path / name, "a.yaml", "b/c.py")
        (tmp_path / name / "a.yaml").chmod(0o644)
        size = chosen(tmp_path / name).pack(tmp_path / f"{name}.zip")
        packed.append((tmp_path / f"{name}.zip").read_bytes())
        assert size == len(packed[-1])
    assert packed[0] == packed[1]
