"""The written comparison: its numbers are those of the analysis, what is missing is explained, and nothing is loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from pipelines.analysis import paper
from pipelines.analysis.bootstrap import AVERAGE, Estimate, Replicates, Resampling, difference
from pipelines.analysis.costs import cost
from pipelines.analysis.findings import findings
from pipelines.analysis.problem_means import ProblemMeans
from pipelines.analysis.results import StudyResults
from pipelines.analysis.router_match import match_router
from pipelines.analysis.summary import summarize
from pipelines.report.assembly import FigureBlock
from pipelines.report.comparison import write_comparison
from pipelines.report.comparison.compared import compare
from pipelines.report.comparison.page import render
from pipelines.report.comparison.traces import StudyTraces, read_study_traces
from pipelines.report.comparison.verdict import verdict

FIGURES = [FigureBlock(name, "caption", "nothing", "", "") for name in ("plane", "calls", "learning")]
MAIN = frozenset({"plain", "long/hard"})
Tables = Mapping[str, Mapping[str, list[str]]]


class _Tables(HTMLParser):
    """Reads tables as text by the id of the heading before them and the row's name."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, dict[str, list[str]]] = {}
        self._cell = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag == "h3" and "id" in found:
            self._row: list[str] = []
            self.tables[str(found["id"])] = {}
        elif tag == "tr" and "data-row" in found:
            self._row = self.tables[list(self.tables)[-1]][str(found["data-row"])] = []
        elif tag == "td" and self.tables:
            self._row.append("")
            self._cell = True
        elif tag == "span" and self._cell:
            self._row[-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._cell:
            self._row[-1] += data.replace("\u00a0", " ")


def tables_of(html: str) -> Tables:
    parser = _Tables()
    parser.feed(html)
    return parser.tables


def page_of(results: StudyResults, resamples: int = 200) -> str:
    return render(compare(results, resamples), StudyTraces({}, ()), FIGURES)


@pytest.fixture(scope="session")
def page(results: StudyResults) -> str:
    return page_of(results)


@pytest.fixture(scope="session")
def tables(page: str) -> Tables:
    return tables_of(page)


@pytest.fixture(scope="session")
def resampling(results: StudyResults) -> Resampling:
    return Resampling.of(ProblemMeans.of(results.systems["base"].table).of_kinds(MAIN), 200)


@pytest.fixture(scope="session")
def main(results: StudyResults, resampling: Resampling) -> Mapping[str, Replicates]:
    """Every system on the kinds that are not unseen."""
    return {
        name: Replicates.of(ProblemMeans.of(system.table).of_kinds(MAIN), resampling)
        for name, system in results.systems.items()
    }


def share(estimate: Estimate) -> str:
    value = "100 %" if estimate.value == 1 else f"{100 * estimate.value:.1f} %"
    return f"{value} | {100 * estimate.low:.1f} – {100 * estimate.high:.1f}"


def signed(estimate: Estimate) -> str:
    value, low, high = (f"{100 * one:+.1f}".replace("-", "−") for one in (estimate.value, estimate.low, estimate.high))
    return f"{value} | {low} to {high}"


def test_table_1_has_the_accuracies_and_call_ratios_of_the_analysis(results, resampling, main, tables: Tables) -> None:
    table = results.systems["relay"].table
    summary = summarize(table.where(np.isin(table.kind, sorted(MAIN))), resampling)
    scopes = ("long/hard", "plain", AVERAGE)
    relay = [*(share(summary[scope].accuracy) for scope in scopes), "–", share(summary[AVERAGE].call_ratio)]
    assert tables["table-1"]["relay"] == [*relay, "49.52", "1.07", "33.04", "0.77"]
    gap = difference(main["grpo"], main["relay"], AVERAGE, lambda means: means.accuracy)
    assert tables["table-1"]["grpo"][3] == signed(gap)


def test_table_2_is_about_unseen_kinds_alone(results: StudyResults, tables: Tables) -> None:
    table = results.systems["relay"].table.of_kind("other/unseen")
    summary = summarize(table, Resampling.of(ProblemMeans.of(table), 200))
    cells = tables["table-2"]["relay"]
    assert cells[0] == share(summary["other/unseen"].accuracy)
    assert cells[3:] == ["12.46", "59.03", "29.93", "8.56", "35.87", "20.88"]


def test_table_4_splits_easy_from_hard(results: StudyResults, tables: Tables) -> None:
    cells = tables["table-4"]["relay_teacher_free"]
    for cell, kind in zip(cells, ("plain", "long/hard"), strict=False):
        table = results.systems["relay_teacher_free"].table.of_kind(kind)
        assert cell == share(summarize(table, Resampling.of(ProblemMeans.of(table), 200))[kind].accuracy)
    assert cells[2:] == ["60.26", "11.93"]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("table-3", {row.system: row for row in paper.TABLE_3}),
        ("table-5", {row.system: row for row in paper.TABLE_5}),
    ],
)
def test_the_papers_numbers_stand_beside_every_row(key: str, rows, tables: Tables) -> None:
    for name, row in rows.items():
        assert tables[key][name][-2:] == [f"{row.average:.2f}", f"{row.call_ratio:.2f}"]


def test_costs_are_those_of_the_analysis(results: StudyResults, main, tables: Tables) -> None:
    costs = cost(main["relay"], AVERAGE, results.prices)
    cells = tables["costs"]["relay"]
    assert cells[7].startswith(f"{costs.teacher_output_tokens.value:.2f} | {costs.teacher_output_tokens.low:.2f}")
    assert cells[9].startswith(f"{costs.price.value:.0f} | {costs.price.low:.0f}")
    assert cells[10].startswith("1 min")
    assert tables["costs"]["base"][7] == "0"


def test_savings_are_those_of_the_analysis(results: StudyResults, main, tables: Tables) -> None:
    match = match_router(main["relay"], main["base"], main["teacher"], AVERAGE, results.prices)
    assert match.savings is not None
    cells = tables["savings"]["relay"]
    assert [float(cell.split(" %")[0].replace("−", "-")) for cell in cells[:6]] == [
        round(100 * one.value, 1)
        for one in (
            match.savings.queries,
            match.savings.token_share,
            match.savings.by_queries,
            match.savings.by_token_share,
            match.savings.by_teacher_tokens,
            match.savings.by_price,
        )
    ]
    assert cells[6:] == [signed(match.gain_at_queries), signed(match.gain_at_tokens)]


def test_the_random_router_as_accurate_as_relay_is_as_accurate(main, tables: Tables) -> None:
    accuracy = main["relay"].estimate(AVERAGE, lambda means: means.accuracy).value
    assert tables["costs"]["matched_router"][0].startswith(f"{100 * accuracy:.1f} %")


def test_every_finding_is_shown_with_its_verdict_and_evidence(results: StudyResults, page: str) -> None:
    means = {name: ProblemMeans.of(system.table) for name, system in results.systems.items()}
    decided = findings(means, results.groups, resamples=200)
    assert len(decided) == page.count('<li id="finding-')
    for finding in decided:
        block = page[page.index(f'id="finding-{finding.key}"') :]
        text = unescape(re.sub(r"<[^>]+>", "", block[: block.index("</div>\n</li>")]))
        assert finding.statement in text
        assert str(finding.verdict) in text
        assert all(evidence.what in text for evidence in finding.evidence)
        assert (finding.reason or "") in text
    assert {finding.verdict for finding in decided} >= {"shows", "cannot be told"}


def test_a_finding_that_does_not_show_differs_by_sign_and_word(results: StudyResults, page: str) -> None:
    swapped = {**results.systems, "relay": results.systems["grpo"], "grpo": results.systems["relay"]}
    sign = (
        r'id="finding-relay_above_grpo">\n<div class="said \w+"><span class="sign" aria-hidden="true">(.)</span>([^<]+)'
    )
    assert re.findall(sign, page) == [("\u2713", "shows")]
    assert re.findall(sign, page_of(replace(results, systems=swapped))) == [("\u2717", "does not show")]


def test_missing_systems_are_explained_wherever_they_belong(tables: Tables) -> None:
    for key in ("table-3", "costs"):
        assert tables[key]["no_filter"][0].startswith("– its run stopped")
    assert tables["table-3"]["no_bonus"][0] == "– not one of this study's systems"
    assert tables["table-3"]["no_bonus"][1:] == ["49.34", "4.10"]


def test_the_verdict_counts_the_papers_findings_and_names_what_is_not_sure(results: StudyResults) -> None:
    means = {name: ProblemMeans.of(system.table) for name, system in results.systems.items()}
    of_paper = [finding for finding in findings(means, results.groups, resamples=200) if finding.paper]
    shown = sum(finding.verdict == "shows" for finding in of_paper)
    text = verdict(compare(results, 200))
    assert text.startswith(f"Of the paper's {len(of_paper)} findings, {shown} show")
    assert "(not surely different)" not in text.split("GRPO without calls")[1].split(",")[0]
    same = {**results.systems, "grpo": results.systems["relay"]}
    unsure = verdict(compare(replace(results, systems=same), 200))
    assert "(not surely different)" in unsure.split("GRPO without calls")[1].split(",")[0]


def test_hostile_text_is_escaped_everywhere(results: StudyResults) -> None:
    hostile = replace(results, name='<script>alert("name")</script>')
    html = render(compare(hostile, 50), read_study_traces(hostile), FIGURES, ["<script>remark</script>"])
    assert "<script>alert" not in html
    assert "<script>remark" not in html
    assert "<img src=x" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_two_systems_are_enough(results: StudyResults) -> None:
    two = {name: results.systems[name] for name in ("base", "relay")}
    html = page_of(replace(results, systems=two, missing={}, oracle={}))
    assert "a random router needs answers of the base student and of the teacher" in html
    assert tables_of(html)["table-1"]["teacher"][0] == "– not one of this study's systems"


def test_no_system_at_all_leaves_notes(results: StudyResults) -> None:
    html = page_of(replace(results, systems={}))
    assert "The relay student has no answers yet." in html
    assert compare(replace(results, systems={}), 50).remarks == ("No problem is of kind long/hard, other/unseen.",)
    assert tables_of(html)["costs"]["no_filter"][0].startswith("– its run stopped")


def test_systems_on_other_problems_are_refused(results: StudyResults) -> None:
    fewer = results.systems["grpo"].table
    fewer = fewer.where((fewer.problem > 3) | (fewer.kind != "plain"))
    systems = {**results.systems, "grpo": replace(results.systems["grpo"], table=fewer)}
    with pytest.raises(ValueError, match="same problems"):
        compare(replace(results, systems=systems), 50)


def test_traces_go_to_the_system_whose_answers_they_are(results: StudyResults) -> None:
    found = read_study_traces(results).by_system
    assert set(found) == set(results.systems)
    for name, traces in found.items():
        assert len(traces) == 6
        assert all(name in trace.problem for trace in traces)


def test_traces_without_answers_are_left_out_with_a_remark(results: StudyResults, tmp_path: Path) -> None:
    folder = tmp_path / "stages" / "evaluate-final-relay"
    folder.mkdir(parents=True)
    (folder / "traces.jsonl").write_text("")
    found = read_study_traces(replace(results, runs={"relay": tmp_path}))
    assert found.by_system == {}
    assert "answers.parquet: cannot be read" in found.remarks[0]


def test_page_and_figures_are_written_and_load_nothing(results: StudyResults, tmp_path: Path) -> None:
    path = write_comparison(results, tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    assert {file.name for file in tmp_path.iterdir()} == {"report.html", "figures"}
    figures = sorted((tmp_path / "figures").iterdir())
    assert {file.name for file in figures} == {
        f"{n}{t}.png" for n in ("plane", "calls", "learning") for t in ("", "-dark")
    }
    assert all(matplotlib.image.imread(file)[..., :3].var() > 1e-3 for file in figures)
    html = path.read_text()
    assert "://" not in html
    targets = re.findall(r'(?:src|srcset|href|action)\s*=\s*"([^"]{0,20})', html)
    assert all(target.startswith(("data:image/png", "#")) for target in targets)
    assert {target for target in targets if target.startswith("#")} <= {
        f"#{name}" for name in re.findall(r'id="([^"]+)"', html)
    }


def test_comparison_imports_without_heavy_packages() -> None:
    code = "import sys, pipelines.report.comparison; print(sorted({'torch', 'vllm', 'ray'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
