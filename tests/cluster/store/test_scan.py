"""A folder is seen as it was at one moment, while a driver writes to it."""

import shutil
import threading
from pathlib import Path

from cluster.files import directory_commit, prune
from cluster.store.scan import view


def seen(root: Path, links: Path) -> dict[str, bytes]:
    found = view(root, {}, links)
    return {path: found.links[path].read_bytes()[: file.size_bytes] for path, file in found.files.items()}


def test_what_is_being_written_and_what_is_of_this_machine_alone_is_not_seen(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in (
        "metrics.jsonl",
        "run.lock",
        "lease/1.json",
        "stages/a/lock",
        "stages/a/.model.partial/x",
        "stages/a/lease/x",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"x")
    (run / "latest").symlink_to(run / "metrics.jsonl")
    assert set(seen(run, tmp_path / "links")) == {"metrics.jsonl", "stages/a/lease/x"}


def test_a_link_holds_a_checkpoint_that_the_driver_removes(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run/stages/grpo/checkpoints/000001"
    with directory_commit(checkpoint) as partial:
        (partial / "weights").write_bytes(b"one")
    found = view(tmp_path / "run", {}, tmp_path / "links")
    shutil.rmtree(checkpoint)
    assert found.links["stages/grpo/checkpoints/000001/weights"].read_bytes() == b"one"


def test_only_what_has_changed_is_linked(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "a").write_bytes(b"a")
    (run / "b").write_bytes(b"b")
    first = view(run, {}, tmp_path / "links")
    with (run / "a").open("ab") as log:
        log.write(b"more")
    assert set(view(run, first.files, tmp_path / "links").links) == {"a"}


def test_checkpoints_are_seen_whole_and_markers_with_their_stage_while_a_driver_commits_and_prunes(
    tmp_path: Path,
) -> None:
    checkpoints, ended = tmp_path / "run/checkpoints", threading.Event()

    def drive() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            with directory_commit(checkpoints / f"{number:06d}") as partial:
                for part in ("a", "b", "c"):
                    (partial / part).mkdir()
                    (partial / part / "weights").write_bytes(str(number).encode())
            prune(sorted(path for path in checkpoints.iterdir() if path.name.isdigit()), keep=1)
            ended.wait(0.03)

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        for _ in range(40):
            found = seen(tmp_path / "run", tmp_path / "links") if checkpoints.exists() else {}
            by_checkpoint: dict[str, set[bytes]] = {}
            parts: dict[str, set[str]] = {}
            for path, content in found.items():
                _, number, part, _ = path.split("/")
                by_checkpoint.setdefault(number, set()).add(content)
                parts.setdefault(number, set()).add(part)
            assert all(part == {"a", "b", "c"} for part in parts.values())
            assert all(contents == {str(int(number)).encode()} for number, contents in by_checkpoint.items())
    finally:
        ended.set()
        driver.join()
