"""The written page."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import pytest

from cluster.files import FolderError
from pipelines.__main__ import main
from pipelines.experiment.alarms import ALARMS
from pipelines.records.traces import Segment, Trace
from pipelines.report.assembly import FigureBlock
from pipelines.report.run.page import render, write_report
from pipelines.report.run.reading import read_run
from pipelines.report.run.viewer import evaluation_traces, evenly

TRACE = Trace("final", 9, "relay", "known", "1 + 1?", "2", "2", True, (Segment("student", "2"),), ())


@pytest.fixture
def page(chain_run: Path) -> str:
    return write_report(chain_run).read_text()


def rendered(run_dir: Path, traces: tuple[Trace, ...]) -> str:
    return render(replace(read_run(run_dir), traces=traces), figures=[])


def test_report_and_figures_are_written_and_no_temporary_file_stays(chain_run: Path) -> None:
    before = {path.name for path in chain_run.iterdir()}
    path = write_report(chain_run)
    assert path == chain_run / "report.html"
    assert {path.name for path in chain_run.iterdir()} - before == {"report.html", "figures"}
    names = ("frontier", "learning", "calls", "reward", "learner", "supervised", "speed")
    figures = sorted((chain_run / "figures").iterdir())
    assert {figure.name for figure in figures} == {f"{name}{theme}.png" for name in names for theme in ("", "-dark")}
    assert all(matplotlib.image.imread(figure)[..., :3].var() > 1e-3 for figure in figures)


def test_page_loads_nothing_from_outside(page: str) -> None:
    assert "://" not in page
    targets = re.findall(r'(?:src|srcset|href|action)\s*=\s*"([^"]{0,20})', page)
    assert len(targets) == 14
    assert all(target.startswith("data:image/png") for target in targets)
    assert "@import" not in page
    assert "url(" not in page


def test_table_shows_accuracy_interval_and_call_ratio(page: str) -> None:
    relay = re.search(r'<tr class="Relay">(.*?)</tr>', page, re.DOTALL)
    assert relay is not None
    cells = re.findall(r"<td>(<span.+?)</td>", relay[1], re.DOTALL)
    assert [re.sub(r"<[^>]+>|\s", " ", cell).split() for cell in cells] == [
        ["97.0", "%", "95.5", "–", "98.5", "teacher", "1.2", "%"],
        ["95.0", "%", "93.1", "–", "96.9", "+92.0", "points", "teacher", "9.8", "%"],
        ["2.0", "%", "0.8", "–", "3.2", "teacher", "6.2", "%"],
        ["75.0", "%", "71.2", "–", "78.8", "+31.0", "points", "teacher", "5.8", "%"],
    ]


@pytest.mark.parametrize("field", ["problem", "gold", "answer", "kind", "name"])
def test_markup_in_a_trace_renders_as_text(chain_run: Path, field: str) -> None:
    html = rendered(chain_run, (replace(TRACE, **{field: '"><script>alert(1)</script>'}),))
    assert "<script>alert" not in html
    assert "&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_segments_are_escaped_and_marked_by_their_writer(chain_run: Path) -> None:
    segments = (
        Segment("student", "a </p><call>"),
        Segment("command", "<call>2</call>"),
        Segment("teacher", "<script>x</script>"),
    )
    html = rendered(chain_run, (replace(TRACE, segments=segments),))
    assert (
        '<p class="output"><span>a &lt;/p&gt;</span><span><s>&lt;call&gt;</s></span>'
        '<span class="command">&lt;call&gt;2&lt;/call&gt;</span>'
        '<mark class="teacher">&lt;script&gt;x&lt;/script&gt;</mark></p>'
    ) in html
    assert "<call>" not in html


def test_configuration_is_escaped_and_collapsed(chain_run: Path) -> None:
    (chain_run / "experiment.yaml").write_text("name: <b>bold</b>\nseed: 3\n")
    html = render(read_run(chain_run), figures=[])
    assert "<b>bold</b>" not in html
    assert "<pre>name: &lt;b&gt;bold&lt;/b&gt;\nseed: 3\n</pre>" in html
    assert "<details open" not in html


def test_missing_sections_leave_one_note_each(metrics_only) -> None:
    run_dir = metrics_only([{"stage": "grpo", "step": 1, "time_s": 5.0, "metrics": {"reward/mean": 0.5}}])
    html = write_report(run_dir).read_text()
    notes = re.findall(r'<p class="note">Left out: (.+?)</p>', html)
    assert len(notes) == 1 + 6 + 1 + 1
    assert [path.name for path in sorted((run_dir / "figures").iterdir())] == ["reward-dark.png", "reward.png"]


def test_figure_that_lost_its_data_is_removed(metrics_only) -> None:
    run_dir = metrics_only([])
    (run_dir / "figures").mkdir()
    (run_dir / "figures" / "calls.png").write_bytes(b"old")
    write_report(run_dir)
    assert list((run_dir / "figures").iterdir()) == []


def test_figure_block_carries_its_images(chain_run: Path) -> None:
    html = render(read_run(chain_run), [FigureBlock("Title", "Caption", "nothing", "TElHSFQ=", "REFSSw==")])
    assert 'src="data:image/png;base64,TElHSFQ="' in html
    assert 'srcset="data:image/png;base64,REFSSw=="' in html


def test_shown_traces_are_even_over_kinds_and_keep_their_order() -> None:
    traces = [replace(TRACE, kind="known", problem=f"k{i}") for i in range(10)]
    traces += [replace(TRACE, kind="unknowable", problem=f"u{i}") for i in range(2)]
    chosen = evenly(evaluation_traces(traces), limit=6)
    assert [shown.trace.problem for shown in chosen] == ["k0", "k1", "k2", "k3", "u0", "u1"]


def test_failed_write_keeps_the_old_report(chain_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (chain_run / "report.html").write_text("old")

    def fail(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(FolderError, match="disk full"):
        write_report(chain_run)
    assert (chain_run / "report.html").read_text() == "old"
    assert not list(chain_run.glob("figures/.*"))


def test_command_prints_the_path(metrics_only, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = metrics_only([])
    assert main(["report", str(run_dir)]) == 0
    assert capsys.readouterr().out == f"report: {run_dir / 'report.html'}\n"


def test_command_names_the_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "metrics.jsonl is missing" in capsys.readouterr().err


def test_report_imports_without_heavy_packages() -> None:
    code = "import sys, json, pipelines.report.run.page; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "vllm", "ray"}.isdisjoint(json.loads(result.stdout))


def test_alarms_stand_first_with_number_meaning_and_remedy(collapsed_run: Path) -> None:
    html = write_report(collapsed_run).read_text()
    box = html[html.index('id="attention"') : html.index('<dl class="facts">')].replace("\u00a0", " ")
    assert html.index('id="attention"') < html.index('id="results"')
    for expected in (
        "What to look at first",
        "36.0 % answers that end at a limit",
        "(known)",
        "32.0 points of accuracy lost",
        "evaluation of relay, since warmup; raised above 5.0 points",
        ALARMS["cut_off"].meaning,
        ALARMS["cut_off"].remedy,
        "Raised and over: malformed_commands (grpo, step 5 to step 10)",
    ):
        assert expected in box
    assert box.count(ALARMS["cut_off"].remedy) == 1


def test_a_column_counts_answers_without_a_box_where_there_are_any(chain_run: Path) -> None:
    assert ">no box<" not in render(read_run(chain_run), figures=[])
    path = chain_run / "evaluations.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(record | {"no_box_share": 0.125}) + "\n" for record in records))
    html = render(read_run(chain_run), figures=[]).replace("\u00a0", " ")
    assert html.count(">no box<") == 2
    assert "<td>12.5 %</td>" in html


def test_a_run_without_alarms_has_nothing_to_look_at_first(page: str) -> None:
    assert 'id="attention"' not in page


def test_direction_marks_of_one_writer_do_not_move_the_text_of_another(chain_run: Path) -> None:
    trace = replace(TRACE, segments=(Segment("student", "2\u202e"), Segment("teacher", "never reversed")))
    page = rendered(chain_run, (trace,))
    assert '<mark class="teacher">never reversed</mark>' in page
    assert re.search(r"\.output > \*[^{]*\{ unicode-bidi: isolate; \}", page)


def test_a_line_that_no_reader_takes_is_skipped_and_a_file_in_the_figures_place_is_named(
    chain_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (chain_run / "metrics.jsonl").open("a") as log:
        log.write("9" * 5000 + "\n" + "[" * 100_000 + "\n")
    assert len(read_run(chain_run).remarks) == 2
    (chain_run / "figures").write_text("")
    assert main(["report", str(chain_run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{chain_run / 'figures'}: the folder cannot be made: File exists")
