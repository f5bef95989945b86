"""Page, chat and generate on the server's own HTTP interface, over scripted engines."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from actors.engines.base import GenerationRequest
from pipelines.__main__ import main
from pipelines.chat.loop import Chat
from pipelines.chat.screen import Screen
from pipelines.chat.session import Session
from pipelines.client.connection import Connection
from tests.browser import Page

stack = pytest.importorskip("tests.serving.stack")


def _student(request: GenerationRequest) -> str:
    """Call once in each answer: the context of the second turn is longer."""
    return "+1" if len(request.prompt_ids) > 14 else "94<call>3</call>"


@pytest.fixture
def url() -> Iterator[str]:
    """The address of the server. Each answer is 94*28+1, where the teacher wrote *28."""
    of = stack.Stack(stack.scripted(_student), stack.scripted(lambda _: "*28"), stack.settings(examples=["94*03"]))
    server = uvicorn.Server(uvicorn.Config(of.app(), host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join(30)


def test_page_shows_an_answer_of_the_server(tab: Page, url: str) -> None:
    tab.open(f"{url}/")
    tab.until("document.querySelector('#examples button')")
    tab.evaluate("document.querySelector('#examples button').click()")
    tab.until("document.querySelectorAll('.answer[aria-busy=false]').length === 3")
    relay = "document.querySelector('.answer.relay')"
    assert tab.evaluate(f"{relay}.querySelector('.text').textContent") == "94*28+1"
    assert tab.evaluate(f"{relay}.querySelector('mark').textContent") == "*28"
    assert "calls1" in tab.evaluate(f"{relay}.querySelector('.numbers').textContent")
    assert "USD" in tab.evaluate(f"{relay}.querySelector('.numbers').textContent")
    tab.evaluate(f"{relay}.querySelector('mark').focus()")
    assert "asked for\n3 tokens" in tab.evaluate("document.getElementById('details').innerText")
    assert tab.evaluate("document.querySelector('.answer.teacher-alone .text').textContent") == "*28"
    assert tab.errors == []


def test_chat_shows_an_answer_of_the_server(url: str) -> None:
    lines, stream = iter(["94*03", "/quit"]), io.StringIO()
    with Connection(url) as connection:
        session = Session(connection.models())
        Chat(connection, session, Screen({"NO_COLOR": "1"}, stream), lambda: next(lines)).run()
    assert stream.getvalue().startswith("94⟦*28⟧+1\n[call ratio ") and " USD, " in stream.getvalue()


def test_generate_writes_answers_of_the_server(url: str, tmp_path: Path) -> None:
    questions, answers = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"question": "94*03"}, {"prompt": "94*03"}, {"question": "94*03", "relay": {"max_call_ratio": 0.0}}]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["generate", url, "--input", str(questions), "--output", str(answers)]) == 0
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [answer["answer"] for answer in found[:2]] == ["94*28+1"] * 2
    assert [len(answer["relay"]["calls"]) for answer in found] == [1, 1, 0]
    assert found[0]["relay"]["currency"] == "USD"
