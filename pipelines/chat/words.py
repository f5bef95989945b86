"""What a chat says about answers, in one line each."""

from __future__ import annotations

from pipelines.chat.session import Session, Totals
from pipelines.client.wire import Call, Kind, Summary
from pipelines.wording import counted, money, percent

NAMES: dict[Kind, str] = {"relay": "relay", "student": "student alone", "teacher": "teacher alone"}

HELP = """/budget 0.2    the teacher writes at most 20 % of an answer; /budget off lifts the limit
/alone         the student answers without the teacher, until /alone again
/compare       student alone and teacher alone answer each question, too, until /compare again
/stats         what the conversation took so far
/reset         forgets the conversation
/help          this text
/quit          leaves; so does Ctrl-D
Ctrl-C stops an answer, and what has come is kept; twice leaves."""


def took(kind: Kind, summary: Summary, currency: str) -> str:
    """Return what one answer took: call ratio, calls, cost and time."""
    parts = []
    if kind == "relay":
        parts += [f"call ratio {percent(summary.call_ratio)}", calls(summary.calls)]
    parts.append(counted(summary.output_tokens, "token"))
    parts += [f"cost {money(summary.cost, currency)}"] if summary.cost else []
    parts.append(f"{summary.duration_s:.2f} s")
    if summary.teacher == "away" and kind == "relay":
        parts.append("the teacher was away, so the student answered alone")
    return ", ".join(parts)


def calls(made: tuple[Call, ...]) -> str:
    """Return how many calls there were, and how many of them failed or were cut short by a budget."""
    failed = [call for call in made if call.ending == "failed"]
    over = sum(call.ending == "budget" for call in made)
    reason = f": {failed[0].reason}" if failed and failed[0].reason else ""
    said = [f"{len(failed)} failed{reason}"] if failed else []
    said += [f"{over} cut short by the budget"] if over else []
    return counted(len(made), "call") + (f" ({', '.join(said)})" if said else "")


def stats(session: Session) -> list[str]:
    """Return a line for each model that has answered."""
    return [_line(kind, totals, session.currency) for kind, totals in session.totals.items()] or ["no answers yet"]


def _line(kind: Kind, totals: Totals, currency: str) -> str:
    parts = [f"{NAMES[kind]}: {counted(totals.answers, 'answer')}"]
    if kind == "relay":
        parts += [f"call ratio {percent(totals.call_ratio)}", counted(totals.calls, "call")]
    parts.append(counted(totals.output_tokens, "token"))
    if totals.cost:
        alone = f" (teacher alone {money(totals.teacher_alone_cost, currency)})" if kind == "relay" else ""
        parts.append(f"cost {money(totals.cost, currency)}{alone}")
    return ", ".join([*parts, f"{totals.duration_s:.2f} s"])
