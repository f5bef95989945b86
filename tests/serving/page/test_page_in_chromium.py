"""The page in a headless Chromium: answers as they arrive, calls, comparison, budgets, failures, keyboard, hostile text."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.browser import FAINT_TEXTS, OVERFLOW, Page
from tests.serving.stand_in import Calls, Drops, Fails, Refuses, Script, StandIn, Step, Waits, Writes, usual

RELAY = "document.querySelector('.turn:last-child .answer.relay')"
TEXT = f"{RELAY}.querySelector('.text').textContent"
MARKS = f"Array.from({RELAY}.querySelectorAll('.text .teacher'), (one) => one.textContent)"
DONE = "document.querySelectorAll('.turn:last-child .answer[aria-busy=false]').length === {}"
STATUS = "document.getElementById('status').textContent"
GO = threading.Event()
FAILURE = f"{RELAY}.querySelector('.failure')?.textContent"


def opened(tab: Page, server: StandIn) -> Page:
    tab.open(f"{server.url}/")
    tab.until("document.getElementById('served').textContent.includes('policy version 80')")
    return tab


def ask(tab: Page, question: str = "What is 6 times 7?", answers: int = 3) -> None:
    tab.evaluate("document.getElementById('question').focus()")
    tab.write(question)
    tab.press("Enter")
    if answers:
        tab.until(DONE.format(answers))


def relay(steps: list[Step] | Refuses) -> Script:
    """The relay answers with these steps, the others as usual."""
    return lambda body, kind: steps if kind == "relay" else usual(body, kind)


def alone(tab: Page) -> None:
    tab.evaluate("document.getElementById('compare').checked = false")


def test_page_asks_only_its_own_server_and_has_a_strict_policy(tab: Page, server: StandIn) -> None:
    opened(tab, server)
    assert tab.requests and all(request.startswith((server.url, "about:", "data:")) for request in tab.requests)
    assert tab.evaluate("fetch('.').then((one) => one.headers.get('content-security-policy'))").startswith(
        "default-src 'none'"
    )
    assert tab.errors == []


@pytest.mark.parametrize(("memory", "said"), [("conversation", "false"), ("question", "true")])
def test_page_says_if_the_models_see_no_earlier_questions(tab: Page, server: StandIn, memory: str, said: str) -> None:
    server.memory = memory
    opened(tab, server)
    tab.until(f"document.getElementById('memory').checkVisibility() === {said}")


def test_answer_arrives_piece_by_piece_beside_student_and_teacher_alone(tab: Page, server: StandIn) -> None:
    go = threading.Event()
    server.script = relay([Writes("The sum is "), Calls("42 for", 20), Waits(go), Writes(" sure.")])
    opened(tab, server)
    ask(tab, answers=2)
    tab.until(f"{TEXT} === 'The sum is 42 for'")
    assert tab.evaluate(MARKS) == ["42 for"]
    tab.until(f"{RELAY}.querySelector('.numbers').textContent.includes('≈ 35.3\u00a0%')")
    tab.until(f"{RELAY}.querySelector('.numbers').textContent.includes('≥ 0.00084')")
    go.set()
    tab.until(DONE.format(3))
    assert tab.evaluate(TEXT) == "The sum is 42 for sure."
    numbers = tab.evaluate(f"{RELAY}.querySelector('.numbers').textContent")
    assert "call ratio33.3\u00a0%" in numbers and "calls1" in numbers and "time1.25\u00a0s" in numbers
    assert "cost0.000844\u00a0EUR" in numbers
    others = tab.evaluate(
        "Array.from(document.querySelectorAll('.answer:not(.relay) .text'), (one) => one.textContent)"
    )
    assert all(text.startswith(f"The {kind} says ") for text, kind in zip(others, ("student", "teacher"), strict=True))
    assert sorted(body["model"] for body in server.requests) == ["demo", "demo/student", "demo/teacher"]
    assert tab.errors == []


def test_details_of_a_call_show_on_focus_and_hover_and_close_by_escape(tab: Page, server: StandIn) -> None:
    server.script = relay([Writes("So "), Calls("it is", 20, "failed", "no answer in time"), Writes(" 42.")])
    opened(tab, server)
    ask(tab)
    tab.evaluate(f"{RELAY}.querySelector('mark').focus()")
    details = tab.evaluate("document.getElementById(document.activeElement.getAttribute('aria-describedby')).innerText")
    for words in (
        "asked for\n20 tokens",
        "written\n2 tokens",
        "0.31\u00a0s",
        "0.12\u00a0s",
        "failed: no answer in time",
    ):
        assert words in details
    tab.press("Escape")
    assert tab.evaluate("document.getElementById('details').hidden")
    tab.evaluate("document.getElementById('question').focus()")
    x, y = tab.evaluate(
        f"(() => {{ const at = {RELAY}.querySelector('mark').getBoundingClientRect(); return [at.x + 5, at.y + 5]; }})()"
    )
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    tab.until("!document.getElementById('details').hidden")
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    tab.until("document.getElementById('details').hidden")


def test_budgets_go_to_the_relay_alone_and_what_is_not_set_is_not_sent(tab: Page, server: StandIn) -> None:
    opened(tab, server)
    ask(tab)
    assert all("relay" not in body and "max_tokens" not in body for body in server.requests)
    tab.evaluate("document.getElementById('ratio').focus()")
    for _ in range(3):
        tab.press("ArrowLeft")
    assert tab.evaluate("document.getElementById('ratio-said').value") == "at most 97\u00a0%"
    tab.evaluate("document.getElementById('more').open = true")
    tab.evaluate("document.getElementById('teacher-tokens').focus()")
    tab.write("12")
    ask(tab, "Again?")
    sent = {body["model"]: body.get("relay") for body in server.requests[3:]}
    assert sent == {
        "demo": {"max_call_ratio": 0.97, "max_teacher_tokens": 12},
        "demo/student": None,
        "demo/teacher": None,
    }
    tab.evaluate("document.getElementById('teacher-tokens').value = '-1'")
    ask(tab, "And now?", answers=0)
    assert tab.evaluate("document.activeElement.id") == "teacher-tokens"
    assert len(server.requests) == 6


def test_the_conversation_goes_on_for_all_three_from_the_relays_answers(tab: Page, server: StandIn) -> None:
    opened(tab, server)
    ask(tab, "First?")
    ask(tab, "Second?")
    messages = [{"role": "user", "content": "First?"}]
    messages.append({"role": "assistant", "content": "The sum is \\boxed{42} for sure, I think."})
    messages.append({"role": "user", "content": "Second?"})
    assert [body["messages"] for body in server.requests[3:]] == [messages] * 3
    assert "2 answers" in tab.evaluate("document.getElementById('totals').textContent")
    tab.evaluate("document.getElementById('reset').click()")
    ask(tab, "Third?")
    assert server.requests[-1]["messages"] == [{"role": "user", "content": "Third?"}]


def test_stop_aborts_the_requests_and_keeps_what_came(tab: Page, server: StandIn) -> None:
    server.script = relay([Writes("So far"), Waits(threading.Event())])
    opened(tab, server)
    ask(tab, answers=2)
    tab.until(f"{TEXT} === 'So far'")
    tab.evaluate("document.getElementById('stop').click()")
    tab.until(DONE.format(3))
    assert tab.evaluate(TEXT) == "So far" and "Stopped." in tab.evaluate(f"{RELAY}.textContent")
    assert server.left.wait(20)
    assert tab.errors == []
    server.script = usual
    ask(tab, "Go on.")
    assert server.requests[-1]["messages"][1] == {"role": "assistant", "content": "So far"}


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([Writes("Half an"), Waits(GO), Drops()], "The connection to the server was lost."),
        (
            [Writes("Half an"), Waits(GO), Fails("the student died")],
            "The answer ended early. The server says: the student died",
        ),
        (Refuses(503, "no student", {"Retry-After": "3"}), "it has no student, or is being stopped."),
        (Refuses(429, "2 at once", {"Retry-After": "65"}), "too many requests now. The server says: 2 at once"),
        (Refuses(429, "spent", code="budget_exceeded"), "Today's budget of this key is spent."),
        (Refuses(400, "max_tokens should be 1 or more"), "max_tokens should be 1 or more"),
        (Refuses(504, "120 s"), "longer than the server allows"),
    ],
)
def test_failures_are_said_in_plain_words_and_can_be_tried_again(
    tab: Page, server: StandIn, steps: list[Step] | Refuses, words: str
) -> None:
    GO.clear()
    server.script = relay(steps)
    opened(tab, server)
    alone(tab)
    ask(tab, answers=0)
    if not isinstance(steps, Refuses):
        tab.until(f"{TEXT} === 'Half an'")
    GO.set()
    tab.until(DONE.format(1))
    assert words in tab.evaluate(FAILURE)
    assert words in tab.evaluate(STATUS)
    if isinstance(steps, Refuses):
        assert ("wait" in tab.evaluate(FAILURE)) == bool(steps.headers)
    else:
        assert tab.evaluate(TEXT) == "Half an"
    server.script = usual
    tab.evaluate(f"{RELAY}.querySelector('.failure button').click()")
    tab.until(f"{DONE.format(1)} && {TEXT}.includes('42')")
    assert tab.evaluate("document.querySelectorAll('.failure:not([hidden])').length") == 0
    assert len(server.requests[-1]["messages"]) == 1


def test_a_server_that_is_gone_is_said_so(tab: Page, server: StandIn) -> None:
    opened(tab, server)
    alone(tab)
    server.__exit__()
    ask(tab, answers=1)
    assert "The server does not answer." in tab.evaluate(FAILURE)


def test_a_key_is_asked_for_used_and_kept_nowhere(tab: Page, server: StandIn) -> None:
    server.api_key = "sésame"
    tab.open(f"{server.url}/")
    tab.until("document.getElementById('trouble').textContent.includes('wants an API key')")
    assert tab.evaluate("document.activeElement.id") == "api-key"
    server.api_key = "sesame"
    tab.write("sesame")
    tab.press("Enter")
    tab.until("document.getElementById('served').textContent !== ''")
    ask(tab)
    assert "42" in tab.evaluate(TEXT)
    kept = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
    assert "sesame" not in tab.evaluate(kept)


def test_sharing_gives_request_and_answer_without_the_key(tab: Page, server: StandIn) -> None:
    server.api_key = "sesame"
    tab.open(f"{server.url}/")
    tab.until("document.activeElement.id === 'api-key'")
    tab.write("sesame")
    tab.press("Enter")
    tab.until("document.getElementById('served').textContent !== ''")
    ask(tab)
    tab.evaluate("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    tab.evaluate("document.querySelectorAll('.share button')[1].click()")
    tab.until("window.copied")
    shared: dict[str, Any] = json.loads(tab.evaluate("window.copied"))
    assert shared["answers"]["relay"]["request"] in server.requests
    assert shared["answers"]["relay"]["answer"]["relay"]["call_ratio"] == pytest.approx(1 / 3)
    assert shared["server"]["id"] == "demo" and "sesame" not in json.dumps(shared)
    assert set(shared["answers"]) == {"relay", "student", "teacher"}


def test_all_is_reached_by_keyboard_alone(tab: Page, server: StandIn) -> None:
    opened(tab, server)
    reached = []
    for _ in range(8):
        tab.press("Tab")
        reached.append(tab.evaluate("document.activeElement.id || document.activeElement.textContent"))
    more = "Budget, comparison and API key"
    assert reached == ["To the question", "theme", *server.examples, "question", "send", "ratio", more]
    tab.evaluate("document.querySelector('#examples button').focus()")
    tab.press("Enter")
    tab.until(DONE.format(3))
    assert server.requests[0]["messages"][0]["content"] == server.examples[0]
    assert tab.evaluate("document.activeElement.id") == "question"
    tab.press("Tab", shift=True)
    assert tab.evaluate("document.activeElement.textContent") == "Copy as JSON"
    for _ in range(2):
        tab.press("Tab", shift=True)
    assert tab.evaluate("document.activeElement.closest('.teacher') !== null")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert not tab.evaluate("document.getElementById('details').hidden")


def test_every_control_has_a_name_and_the_live_region_speaks_twice_an_answer(tab: Page, server: StandIn) -> None:
    opened(tab, server)
    unnamed = """Array.from(document.querySelectorAll('input, select, textarea, button'))
      .filter((one) => !(one.labels?.length || one.textContent.trim())).map((one) => one.id)"""
    assert tab.evaluate(unnamed) == []
    tab.evaluate("""window.said = []; new MutationObserver(() => said.push(document.getElementById('status').textContent))
      .observe(document.getElementById('status'), {childList: true, characterData: true, subtree: true})""")
    ask(tab)
    tab.until("window.said.length === 2")
    assert tab.evaluate("said[0]") == "The answer is being written."
    assert "The teacher wrote 33.3\u00a0% in 1 call." in tab.evaluate("said[1]")


HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script> \u202egnp.exe شكرا "
    + "x" * 3000
    + " [link](javascript:alert(3))"
)


def test_hostile_text_does_nothing_and_does_not_widen_the_page(tab: Page, server: StandIn) -> None:
    server.examples = [HOSTILE]
    server.script = lambda body, kind: [
        Writes(HOSTILE),
        Calls(HOSTILE + " $\\text{<b>b</b>} \\boxed{<i>}$", 5, "failed", HOSTILE),
    ]
    for width in (360, 1280):
        tab.resize(width)
        opened(tab, server)
        ask(tab, HOSTILE)
        tab.evaluate(f"{RELAY}.querySelector('mark').focus()")
        assert HOSTILE.replace("\u202e", "[U+202E]") in tab.evaluate(TEXT)
        assert "\u202e" not in tab.evaluate(TEXT)
        assert tab.evaluate(OVERFLOW) == 0
        assert tab.evaluate("document.querySelectorAll('img, body script, b, i, a:not(.skip)').length") == 0
    assert tab.errors == []


def test_a_long_answer_can_be_scrolled_by_keys(tab: Page, server: StandIn) -> None:
    server.script = relay([Writes("A line.\n" * 200)])
    tab.resize(1280)
    opened(tab, server)
    ask(tab)
    assert tab.evaluate(f"{RELAY}.querySelector('.text').tabIndex") == 0
    assert tab.evaluate("document.querySelector('.answer.student .text').tabIndex") == -1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_page_fits_its_screen_and_texts_stand_out(tab: Page, server: StandIn, width: int, scheme: str) -> None:
    tab.resize(width)
    tab.prefer(scheme)
    opened(tab, server)
    ask(tab)
    tab.evaluate("document.getElementById('more').open = true")
    assert tab.evaluate(OVERFLOW) == 0
    assert tab.evaluate(FAINT_TEXTS.replace("main *", "main *, footer *, header *")) == []
    columns = "new Set(Array.from(document.querySelectorAll('.answer'), (one) => one.getBoundingClientRect().x)).size"
    visible = "Array.from(document.querySelectorAll('.answer')).filter((one) => one.getClientRects().length).length"
    assert (tab.evaluate(visible), tab.evaluate(columns)) == ((1, 2) if width <= 860 else (3, 3))
    if width <= 860:
        tab.evaluate("document.querySelector('input[value=relay]').focus()")
        tab.press("ArrowRight")
        assert tab.evaluate("document.querySelector('.answer.student').getClientRects().length") == 1
        assert tab.evaluate(visible) == 1


def test_the_switch_overrides_the_systems_colours_and_is_kept(tab: Page, server: StandIn) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    tab.prefer("light")
    opened(tab, server)
    light = tab.evaluate(ground)
    tab.evaluate("theme.value = 'dark'; theme.dispatchEvent(new Event('change'))")
    assert tab.evaluate(ground) != light
    opened(tab, server)
    assert tab.evaluate(ground) != light
    tab.evaluate("theme.value = ''; theme.dispatchEvent(new Event('change'))")
    assert tab.evaluate(ground) == light
