"""The command line: errors in one line, examples, completion, and nothing heavy loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
import ray
from click.testing import CliRunner

from cluster.shared_weights import SharedMemoryError
from pipelines.__main__ import main
from pipelines.commands import relayllm
from pipelines.experiment.opening import opened
from pipelines.records.binding import bind
from pipelines.records.run_directory import RunDirectory

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DEMO, STUDY, SWEEP = EXPERIMENTS / "demo.yaml", EXPERIMENTS / "tiny/study.yaml", EXPERIMENTS / "sweeps/demo.yaml"
SERVER = EXPERIMENTS / "serve/demo.yaml"
LIGHT = (
    "import sys; from pipelines.__main__ import main; status = main(sys.argv[1:]);"
    "print('heavy:', {'torch', 'ray', 'vllm', 'transformers', 'deepspeed'} & sys.modules.keys(), file=sys.stderr);"
    "sys.exit(status)"
)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["sweep", "--help"], ["--version"], ["schema"]])
def test_what_only_prints_loads_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "heavy: set()" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "No such command 'rnu'"),
        (["run"], "Missing argument 'EXPERIMENT'"),
        (["run", "x.yaml", "--dryrun"], "No such option"),
        (["schema", "runs"], "is not one of"),
        (["study", "x.yaml", "--dry-run", "--report-only"], "exclude each other"),
        (["report", "nowhere"], "nowhere is not a run directory"),
        (["run", str(STUDY)], f"is a study, since it has runs: relayllm study {STUDY}"),
        (["run", str(SWEEP)], f"is a sweep, since it has parameters: relayllm sweep {SWEEP}"),
        (["study", str(DEMO)], f"is an experiment, since it has models: relayllm run {DEMO}"),
        (["sweep", str(DEMO)], f"is an experiment, since it has models: relayllm run {DEMO}"),
        (["serve", str(DEMO)], f"is an experiment, since it has models: relayllm run {DEMO}"),
        (["run", str(SERVER)], f"is a server's file, since it has student: relayllm serve {SERVER}"),
    ],
)
def test_a_users_error_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err and captured.err.count("\n") == 1


def test_a_run_that_has_logged_nothing_yet_is_told_from_a_folder_that_is_no_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "experiment.yaml").write_text("name: begun\n")
    assert main(["report", str(tmp_path)]) == 2
    assert f"{tmp_path} has logged nothing yet" in capsys.readouterr().err


@pytest.mark.ray
def test_what_an_actor_cannot_go_on_with_is_one_line_and_status_1(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @ray.remote(num_cpus=0)
    def full() -> None:
        raise SharedMemoryError("/dev/shm is full: make it larger")

    monkeypatch.setattr(relayllm, "main", lambda *_, **__: ray.get(full.remote()))
    assert main([]) == 1
    assert capsys.readouterr().err == "/dev/shm is full: make it larger\n"


@pytest.mark.parametrize("command", ["run", "study", "sweep", "report", "schema"])
def test_the_help_of_every_command_has_an_example(command: str) -> None:
    assert f"relayllm {command} " in CliRunner().invoke(relayllm, [command, "--help"]).output


def test_a_shell_completes_the_keys_of_settings() -> None:
    (overrides,) = (one for one in relayllm.commands["run"].params if one.name == "overrides")
    context = relayllm.commands["run"].make_context("run", ["x.yaml"])
    found = [item.value for item in overrides.shell_complete(context, "grpo.l")]
    assert "grpo.loss." in found and "grpo.limits." in found
    assert "grpo.steps=" in [item.value for item in overrides.shell_complete(context, "grpo.ste")]


def test_a_roll_back_needs_a_checkpoint_from_before_its_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    slow = ["run", str(DEMO), "--dry-run", "grpo.on_alarm.calls_everywhere=roll_back"]
    assert main(slow) == 2
    said = "grpo.keep_checkpoints (2) should be at least 3 with grpo.checkpoint_every (10) and grpo.on_alarm.calls_everywhere"
    assert said in capsys.readouterr().err
    for settings in (["grpo.keep_checkpoints=3"], ["grpo.steps=20"], ["alarms.calls_everywhere=null"]):
        assert main([*slow, *settings]) == 0


def test_a_dry_run_says_what_a_run_would_do_in_its_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "mine"
    dry_run = ["run", str(DEMO), "--dry-run", f"run_dir={place}"]
    assert main(dry_run) == 0
    assert f"# run directory: {place}, new" in capsys.readouterr().out
    assert not place.exists()

    directory = RunDirectory(place)
    bind(directory, opened(DEMO, [f"run_dir={place}"]))
    assert main([*dry_run, "seed=5"]) == 0
    assert "no stage of it has begun, and the run would begin with these settings" in capsys.readouterr().out
    directory.mark_done("filter", {})
    kept = directory.experiment.read_bytes()
    for broken, said in (("file", "is a file"), ("folder", "experiment.yaml: cannot be read: Is a directory")):
        elsewhere = tmp_path / broken
        elsewhere.write_text("") if broken == "file" else (elsewhere / "experiment.yaml").mkdir(parents=True)
        assert main([*dry_run, f"run_dir={elsewhere}"]) == 2
        assert said in capsys.readouterr().err
    assert main([*dry_run, "rollout.workers=2"]) == 0
    said = f"# run directory: {place}; its run would go on with rollout.workers: 1 -> 2, after 1 of "
    assert said in capsys.readouterr().out
    assert main([*dry_run, "seed=5"]) == 2
    printed = capsys.readouterr()
    assert "is the run of another experiment" in printed.err and "seed: 0 -> 5" in printed.err
    assert not printed.out
    assert directory.experiment.read_bytes() == kept


def test_a_study_without_any_answer_has_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "none"
    assert main(["study", str(STUDY), "--report-only", f"directory={folder}"]) == 1
    assert f"{folder}: no run of this study has an answer yet" in capsys.readouterr().err
    assert not folder.exists()


def test_a_scheme_is_found_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def free(group, settings): ...")
    command = [Path(sys.executable).with_name("relayllm"), "run", DEMO, "--dry-run", "reward.scheme=mine:free"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "module 'mine' was imported, but registers no 'free': decorate the function" in done.stderr
