"""The verdict on a run in plain words: its best and its worst change, from its evaluations and open alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from pipelines.experiment.alarms import AlarmEvent, open_alarms
from pipelines.experiment.stage_names import FINAL
from pipelines.records.evaluations import ALL, Evaluation
from pipelines.records.phases import BEFORE, evaluated_together
from pipelines.wording import percent, points

Tone = Literal["good", "mixed", "bad", "open"]
"""open: nothing can be said yet, or nothing has changed clearly"""

_PHRASES = {
    "known": "known problems",
    "teacher_known": "problems that need the teacher",
    "guessable": "problems that the student can guess",
    "unknowable": "problems that nobody can know",
    ALL: "all problems",
}
_NEEDS_TEACHER = "teacher_known"


@dataclass(frozen=True, slots=True)
class Change:
    """Accuracy on one kind of problem, compared with the student before training. Shares are between 0 and 1."""

    kind: str
    accuracy: float
    before: float
    clear: Literal[-1, 0, 1]
    """whether it fell (-1) or rose (1) by more than chance explains: the 95 % intervals do not overlap"""

    @property
    def gain(self) -> float:
        return self.accuracy - self.before

    @property
    def text(self) -> str:
        """The change as text, such as `64.0 % of known problems (-36.0 points)`."""
        return f"{percent(self.accuracy)} of {kind_phrase(self.kind)} ({points(self.gain)})"


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """What a run reached."""

    tone: Tone
    headline: str
    """one sentence: the best change and the worst"""
    details: tuple[str, ...]
    """further sentences: calls, the teacher, the oracle, alarms"""
    changes: tuple[Change, ...]
    """by kind, `all` last; empty if the student was not evaluated before training"""

    @property
    def text(self) -> str:
        return " ".join((self.headline, *self.details))


def verdict_on(
    evaluations: Sequence[Evaluation], alarms: Sequence[AlarmEvent] = (), *, warmed_up: bool = True
) -> RunVerdict:
    """Return the verdict on a run's evaluations. The last row of a kind counts. `alarms` are the run's events.

    It is about the relay student, or about the student alone if no relay was evaluated.
    """
    kinds = _kinds(evaluations)
    raised = _alarm_sentences(alarms)
    policy = "relay" if any(one.policy == "relay" for one in evaluations) else "student"
    found = [one for one in evaluated_together(evaluations, policy, kinds, warmed_up=warmed_up) if one is not None]
    if not found:
        text = "Neither the relay nor the student has a complete evaluation yet."
        return RunVerdict("open", text if evaluations else "No evaluation has finished yet.", raised, ())
    subject = "the relay student" if policy == "relay" else "the student alone"
    if found[0].name != FINAL:
        subject = f"so far, at GRPO step {found[0].step}, {subject}"
    before = {
        one.kind: one
        for one in evaluated_together(evaluations, "student", kinds, BEFORE, warmed_up=warmed_up)
        if one is not None
    }
    changes = tuple(
        change_of(one, before[one.kind]) for one in found if one.kind in before and one is not before[one.kind]
    )
    if not changes:
        solved = _overall(found)
        details = (*_details(evaluations, found, policy, warmed_up, with_overall=False), *raised)
        return RunVerdict("open", _sentence(f"{subject} solves {solved}"), details, ())
    details = (*_details(evaluations, found, policy, warmed_up), *raised)
    tone, text = _tone_and_text(changes, subject, alarms)
    return RunVerdict(tone, _sentence(text), details, changes)


def kind_phrase(kind: str) -> str:
    """Return the words for a kind of problem that follow `solves 9.8 % of`."""
    return _PHRASES.get(kind, kind)


def _kinds(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    seen = dict.fromkeys(one.kind for one in evaluations)
    return (*(kind for kind in seen if kind != ALL), *([ALL] if ALL in seen else []))


def change_of(one: Evaluation, before: Evaluation) -> Change:
    """Return the change from an earlier evaluation on the same kind of problem."""
    clear: Literal[-1, 0, 1] = 0
    if one.accuracy_ci95[0] > before.accuracy_ci95[1]:
        clear = 1
    elif one.accuracy_ci95[1] < before.accuracy_ci95[0]:
        clear = -1
    return Change(one.kind, one.accuracy, before.accuracy, clear)


def _tone_and_text(changes: Sequence[Change], subject: str, alarms: Sequence[AlarmEvent]) -> tuple[Tone, str]:
    by_kind = [change for change in changes if change.kind != ALL] or list(changes)
    worst = min(by_kind, key=lambda change: (change.clear >= 0, change.gain))
    lead = _lead(by_kind)
    if worst.clear < 0 and lead.clear > 0:
        return "mixed", f"{subject} solves {lead.text}, but {worst.text}"
    if worst.clear < 0:
        return "bad", f"{subject} solves only {worst.text}, and no kind of problem clearly more often"
    if lead.clear > 0:
        rest = "" if len(by_kind) == 1 else "; no kind of problem got clearly worse"
        return ("mixed" if open_alarms(alarms) else "good"), f"{subject} solves {lead.text}{rest}"
    unchanged = "no kind of problem changed clearly" if len(by_kind) > 1 else "that is no clear change"
    return ("bad" if open_alarms(alarms) else "open"), f"{subject} solves {lead.text}; {unchanged}"


def _lead(changes: Sequence[Change]) -> Change:
    """Return the best change. If problems that need the teacher clearly gained, it is theirs: relaying is meant for them."""
    return max(changes, key=lambda change: (change.clear > 0, change.kind == _NEEDS_TEACHER, change.gain))


def _details(
    evaluations: Sequence[Evaluation],
    found: Sequence[Evaluation],
    policy: str,
    warmed_up: bool,
    with_overall: bool = True,
) -> tuple[str, ...]:
    texts = []
    named = [one for one in found if one.kind != ALL]
    if len(named) > 1 and with_overall:
        texts.append(f"Over all it solves {_overall(found)}.")
    if policy != "relay":
        return tuple(texts)
    about = next((one for one in found if one.kind == _NEEDS_TEACHER), None)
    about = about or next((one for one in found if one.kind == ALL), found[0] if len(found) == 1 else None)
    if about is None:
        ratio = mean(one.call_ratio for one in found)
        return (*texts, f"Of its tokens the teacher writes {percent(ratio)}, on average over {len(found)} kinds.")
    where = f" on {kind_phrase(about.kind)}" if about.kind != ALL else ""
    overall = next((one for one in found if one.kind == ALL and one is not about), None)
    parts = [f"{_ratio(about)}{where}", *([f"{_ratio(overall)} over all"] if overall else [])]
    texts.append(f"Of its tokens the teacher writes {' and '.join(parts)}.")
    (teacher,) = evaluated_together(evaluations, "teacher", [about.kind], warmed_up=warmed_up)
    if teacher is not None:
        texts.append(f"The teacher alone solves {percent(teacher.accuracy)} of {kind_phrase(about.kind)}.")
    alone = [one for one in evaluations if one.policy == "student" and one.kind == about.kind]
    if alone:
        best = max(alone, key=lambda one: one.accuracy)
        if about.accuracy_ci95[0] <= best.accuracy_ci95[1]:
            word = "fewer than" if about.accuracy_ci95[1] < best.accuracy_ci95[0] else "not clearly more than"
            # It names its subject: the sentence before it may be about the teacher.
            texts.append(
                f"The relay student solves {percent(about.accuracy)}{where}, {word} the {percent(best.accuracy)} that the "
                "student solves alone."
            )
    return tuple(texts)


def _ratio(one: Evaluation) -> str:
    """Return the call ratio as text, with that of the best possible policy if it is known."""
    best = "" if one.oracle_call_ratio is None else f" (best possible {percent(one.oracle_call_ratio)})"
    return f"{percent(one.call_ratio)}{best}"


def _overall(found: Sequence[Evaluation]) -> str:
    """Return as text the accuracy on all problems; without such a row the mean over the kinds."""
    for one in found:
        if one.kind == ALL or len(found) == 1:
            return f"{percent(one.accuracy)} of {kind_phrase(one.kind)}"
    return f"{percent(mean(one.accuracy for one in found))} on average over {len(found)} kinds"


def _alarm_sentences(alarms: Sequence[AlarmEvent]) -> tuple[str, ...]:
    names = list(dict.fromkeys(event.alarm for event in open_alarms(alarms)))
    if not names:
        return ()
    return (f"{'One alarm is' if len(names) == 1 else f'{len(names)} alarms are'} raised: {', '.join(names)}.",)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
