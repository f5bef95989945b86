"""The command against a server with scripted answers: order, retries, going on, and what it says at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.__main__ import main
from pipelines.client.errors import ServerError
from pipelines.generation.rows import RequestKeys, read_questions
from pipelines.generation.run import Batch, generate
from tests.serving.stand_in import Calls, Drops, Refuses, StandIn, Waits, Writes

ROOT = Path(__file__).parents[3]


def question_of(body: dict[str, Any]) -> str:
    return body.get("prompt") or body["messages"][-1]["content"]


def echo(body: dict[str, Any], kind: str) -> list[Any]:
    return [Writes("It is "), Calls(f"\\boxed{{{question_of(body)}}}", 5)]


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(echo) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "in.jsonl", tmp_path / "out.jsonl"


def ask(server: StandIn, files: tuple[Path, Path], *more: str) -> int:
    return main(["generate", server.url, "--input", str(files[0]), "--output", str(files[1]), *more])


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(server: StandIn) -> Counter[str]:
    return Counter(map(question_of, server.requests))


def test_answers_stand_in_the_order_of_the_questions_and_are_graded(
    server: StandIn, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    last_came = threading.Event()

    def script(body: dict[str, Any], kind: str) -> list[Any]:
        if question_of(body) == "9":
            last_came.set()
        return [*([Waits(last_came)] if question_of(body) == "0" else []), *echo(body, kind)]

    server.script = script
    rows: list[dict[str, Any]] = [{"question": str(i), "id": f"q{i}", "answer": i if i != 3 else 4} for i in range(10)]
    rows[5] = {"prompt": "5", "answer": "5"}
    write(files[0], *rows)
    assert ask(server, files) == 0
    answers = read(files[1])
    assert [answer["line"] for answer in answers] == list(range(1, 11))
    assert [answer["answer"] for answer in answers] == [f"It is \\boxed{{{i}}}" for i in range(10)]
    assert [answer["correct"] for answer in answers] == [i != 3 for i in range(10)]
    assert answers[0]["relay"]["call_ratio"] == pytest.approx(1 / 3) and answers[0]["usage"]["completion_tokens"] == 3
    said = capsys.readouterr()
    summary = said.out.replace("\u00a0", " ")
    assert "10 of 10 rows are answered\naccuracy 90.0 % of 10, call ratio 33.3 %, 1.00 calls an answer" in summary
    assert "cost 0.00742 EUR (teacher alone 0.0742 EUR), " in summary and "tokens/s\n" in summary
    assert "answers 10/10" in said.err


def test_requests_are_bounded_in_number_and_carry_the_commands_keys(server: StandIn, files: tuple[Path, Path]) -> None:
    write(files[0], *({"question": str(i)} for i in range(20)))
    go = threading.Event()

    def script(body: dict[str, Any], kind: str) -> list[Any]:
        if len(server.requests) == 3:
            go.set()
        return [Waits(go), *echo(body, kind)]

    server.script = script
    assert ask(server, files, "--concurrency", "3", "--budget", "0.2", "--temperature", "0", "--suffix", "!") == 0
    assert server.most_running == 3
    assert server.requests[0]["relay"] == {"max_call_ratio": 0.2} and server.requests[0]["temperature"] == 0.0
    assert question_of(server.requests[0]).endswith("!") and server.requests[0]["model"] == "demo"
    assert ask(server, files, "--model", "student", "--overwrite", "--budget", "0.2") == 0
    assert server.requests[-1]["model"] == "demo/student" and "relay" not in server.requests[-1]


def test_the_same_command_asks_only_what_is_missing(server: StandIn, files: tuple[Path, Path]) -> None:
    write(files[0], *({"question": str(i), "answer": i} for i in range(6)))
    assert ask(server, files) == 0
    whole = files[1].read_bytes()
    assert ask(server, files) == 0
    assert len(server.requests) == 6 and files[1].read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    failed = json.dumps({**json.loads(lines[1]), "answer": None, "error": {"message": "?"}}).encode() + b"\n"
    files[1].write_bytes(lines[4] + failed + lines[0] + lines[2][:30])  # out of order, one failed, one half-written
    assert ask(server, files) == 0
    assert asked(server) == {"0": 1, "1": 2, "2": 2, "3": 2, "4": 1, "5": 2}
    assert files[1].read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ("input", (), "the input is not the one that these answers were begun with"),
        ("", ("--budget", "0.5"), 'relay was not given and is {"max_call_ratio": 0.5}'),
        ("", ("--model", "teacher"), "begun with model demo, and now it is demo/teacher"),
        ("origin", (), "out.jsonl exists, and this command did not write it"),
        ("output", (), "out.jsonl, line 1 is no answer of this command"),
    ],
)
def test_answers_of_other_questions_or_options_are_not_mixed(
    server: StandIn,
    files: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    change: str,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    write(files[0], {"question": "1"})
    assert ask(server, files) == 0
    if change == "input":
        write(files[0], {"question": "2"})
    elif change == "origin":
        files[1].with_name("out.jsonl.origin.json").unlink()
    elif change == "output":
        files[1].write_text("{}\n")
    before = files[1].read_bytes()
    assert ask(server, files, *arguments) == 2
    said = capsys.readouterr().err
    assert words in said and "--overwrite to begin anew" in said
    assert files[1].read_bytes() == before and len(server.requests) == 1
    assert ask(server, files, *arguments, "--overwrite") == 0
    assert len(read(files[1])) == 1


def test_passing_failures_are_asked_again_after_the_time_that_the_server_says(
    server: StandIn, files: tuple[Path, Path]
) -> None:
    failures = {
        "0": [Refuses(429, "later", {"Retry-After": "7"}), Refuses(429, "later", {"Retry-After": "7"})],
        "1": [Refuses(503, "no student")],
        "2": [[Drops()]],
        "3": [Refuses(500, "oh")],
    }

    def script(body: dict[str, Any], kind: str) -> Any:
        left = failures[question_of(body)]
        return left.pop() if left else echo(body, kind)

    server.script = script
    write(files[0], *({"question": str(i)} for i in range(4)))
    pauses: list[float] = []

    async def sleep(time_s: float) -> None:
        pauses.append(time_s)

    batch = Batch(read_questions(files[0], RequestKeys()), files[1], "relay", {}, concurrency=1)
    outcome = generate(batch, server.url, sleep=sleep)
    assert outcome.failed == 0
    assert asked(server) == {"0": 3, "1": 2, "2": 2, "3": 2}
    assert all(7 <= pause <= 8.75 for pause in pauses[:2]) and all(0.5 <= pause <= 0.625 for pause in pauses[2:])


def test_rows_that_fail_are_said_and_the_others_are_answered(
    server: StandIn, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = lambda body, kind: (
        Refuses(400, "max_tokens is too large") if question_of(body) == "1" else echo(body, kind)
    )
    write(files[0], *({"question": str(i)} for i in range(3)))
    assert ask(server, files) == 1
    answers = read(files[1])
    assert [answer["error"] is None for answer in answers] == [True, False, True]
    assert answers[1]["error"]["message"].endswith("(status 400): max_tokens is too large")
    assert asked(server)["1"] == 1
    assert "2 of 3 rows are answered, 1 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (Refuses(429, "spent", code="budget_exceeded"), "today's budget of this key is spent: spent"),
        (Refuses(401, "no"), "wants an API key"),
    ],
)
def test_what_every_row_would_be_refused_for_ends_the_run_and_keeps_what_is_done(
    server: StandIn, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], refusal: Refuses, words: str
) -> None:
    server.script = lambda body, kind: refusal if question_of(body) == "2" else echo(body, kind)
    write(files[0], *({"question": str(i)} for i in range(5)))
    assert ask(server, files, "--concurrency", "1") == 1
    said = capsys.readouterr().err
    assert words in said and "2 of 5 answers are in" in said and "the same command asks the rest" in said
    assert len(read(files[1])) == 2
    server.script = echo
    assert ask(server, files) == 0
    assert asked(server) == {"0": 1, "1": 1, "2": 2, "3": 1, "4": 1}


def test_a_server_that_is_not_there_ends_the_run(files: tuple[Path, Path]) -> None:
    write(files[0], {"question": "1"})
    batch = Batch(read_questions(files[0], RequestKeys()), files[1], "relay", {})
    with pytest.raises(ServerError, match="no server answers at http"):
        generate(batch, "http://127.0.0.1:9")


def test_bad_input_is_named_before_any_request_and_input_is_never_the_output(
    server: StandIn, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write(files[0], {"question": "1"}, {"questoin": "2"})
    assert ask(server, files) == 2
    assert "in.jsonl, line 2: needs one of question, messages and prompt" in capsys.readouterr().err
    assert server.requests == [] and not files[1].exists()
    write(files[0], {"question": "1"})
    assert ask(server, (files[0], files[0]), "--overwrite") == 2
    assert "are one file" in capsys.readouterr().err and read(files[0]) == [{"question": "1"}]


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(server: StandIn, files: tuple[Path, Path]) -> None:
    waits = threading.Event()
    server.script = lambda body, kind: [*([Waits(waits)] if question_of(body) in "234" else []), *echo(body, kind)]
    write(files[0], *({"question": str(i)} for i in range(5)))
    command = [sys.executable, "-m", "pipelines", "generate", server.url, "--input", str(files[0])]
    command += ["--output", str(files[1]), "--concurrency", "5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        while not files[1].exists() or files[1].read_bytes().count(b"\n") < 2:
            assert process.poll() is None
            threading.Event().wait(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "what is finished is kept. To go on: " in said and "Traceback" not in said
    assert [answer["line"] for answer in read(files[1])] == [1, 2]
    waits.set()
    assert ask(server, files) == 0
    assert [answer["line"] for answer in read(files[1])] == [1, 2, 3, 4, 5]
    assert asked(server)["0"] == asked(server)["1"] == 1


def test_two_processes_do_not_write_one_file(
    server: StandIn, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    import fcntl

    write(files[0], {"question": "1"})
    with files[1].open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert ask(server, files) == 2
    assert "another process is writing" in capsys.readouterr().err
