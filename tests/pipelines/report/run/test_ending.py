"""The end of a run on the screen."""

import io
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from pipelines.report.run.ending import show_ending
from tests.pipelines.evaluation_rows import run as evaluations


def shown(folder: Path, known: int, teacher_known: int) -> str:
    (folder / "metrics.jsonl").write_text("")
    (folder / "experiment.yaml").write_text("name: demo\nseed: 0\n")
    rows = evaluations(known, teacher_known)
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(asdict(one)) + "\n" for one in rows))
    stream = io.StringIO()
    show_ending(
        folder / "report.html",
        Path("experiments/demo.yaml"),
        ["grpo.steps=5", " seed = 0", "name=x"],
        Console(file=stream, highlight=False),
    )
    return stream.getvalue().replace("\u00a0", " ")


def test_the_table_the_verdict_the_report_and_the_next_commands_stand_at_the_end(tmp_path: Path) -> None:
    text = shown(tmp_path, known=128, teacher_known=198)
    lines = text.splitlines()
    assert any(line.startswith("Relay, after GRPO") and "64.0 %" in line and "99.0 %" in line for line in lines)
    assert any("but 64.0 % of known problems" in line for line in lines)
    assert f"report: {tmp_path / 'report.html'}" in lines
    again = "  relayllm run experiments/demo.yaml grpo.steps=5 seed=1 name=demo-1"
    assert any(line.startswith(f"{again} run_dir={tmp_path}-1  #") for line in lines)
    (tmp_path / "demo").mkdir()
    lines = shown(tmp_path / "demo", known=128, teacher_known=198).splitlines()
    assert any(line.startswith(f"{again}  #") for line in lines)


def test_a_log_gets_no_colours(tmp_path: Path) -> None:
    assert "\x1b" not in shown(tmp_path, known=200, teacher_known=198)
