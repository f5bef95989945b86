"""The command `relayllm generate`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.client import options

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@options.target
@click.option("--input", "input_file", required=True, type=_FILE, help="JSONL: a question, messages or a prompt a row.")
@click.option("--output", required=True, type=_FILE, help="JSONL: an answer a row, in the order of the input.")
@click.option("--model", type=click.Choice(["relay", "student", "teacher"]), default="relay", show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 4096), default=32, show_default=True, help="Requests at a time.")
@click.option("--attempts", type=click.IntRange(1), default=6, show_default=True, help="Of one row, before it fails.")
@click.option("--timeout", type=click.FloatRange(1.0), default=600.0, show_default=True, help="Seconds for one answer.")
@click.option("--temperature", type=click.FloatRange(0.0), help="Of rows that set none.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer of rows that set none.")
@click.option("--seed", type=int, help="Of rows that set none.")
@click.option("--budget", type=click.FloatRange(0.0, 1.0), help="Greatest call ratio of rows that set none.")
@click.option("--max-teacher-tokens", type=click.IntRange(0), help="Of rows that set none.")
@click.option("--suffix", default="", help="Text after every question, as data.prompt_suffix is in training.")
@click.option("--overwrite", is_flag=True, help="Begin the output anew.")
@options.key_variable
def generate(
    target: str,
    input_file: Path,
    output: Path,
    model: str,
    concurrency: int,
    attempts: int,
    timeout: float,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    budget: float | None,
    max_teacher_tokens: int | None,
    suffix: str,
    overwrite: bool,
    api_key_env: str,
) -> int:
    """Answer a file of questions, through the HTTP API of a server.

    TARGET is the URL of a server, a run's folder or a server's YAML file. Each input row is a JSON object with `question`,
    `messages` or `prompt`, and may have `id`, `answer` (the right one), temperature, top_p, top_k, seed, max_tokens, stop and
    `relay`. The same command again asks only the rows that have no answer yet.

    Exit status: 0 all rows are answered, 1 some failed, 2 bad input, 130 stopped by Ctrl-C.

    \b
    relayllm generate runs/demo --input questions.jsonl --output answers.jsonl
    relayllm generate http://127.0.0.1:8000 --input questions.jsonl --output cheap.jsonl --budget 0.2
    """
    from pipelines.client.server import server_for
    from pipelines.generation.answers import Origin, check
    from pipelines.generation.rows import InputError, RelayKeys, RequestKeys, read_questions
    from pipelines.generation.run import Batch
    from pipelines.generation.run import generate as run
    from pipelines.terminal.logs import begin_logging

    relay = RelayKeys(max_call_ratio=budget, max_teacher_tokens=max_teacher_tokens)
    asks_relay = model == "relay" and relay != RelayKeys()
    defaults = RequestKeys(
        temperature=temperature, max_tokens=max_tokens, seed=seed, relay=relay if asks_relay else None
    )
    key = options.api_key(api_key_env)
    begin_logging()
    try:
        if output.exists() and input_file.exists() and output.samefile(input_file):
            raise InputError(f"--input and --output are one file, {output}: give another --output")
        questions = read_questions(input_file, defaults, suffix)
        if questions.unused:
            click.echo(f"keys of rows that are not used: {', '.join(questions.unused)}", err=True)
        made_with = {**defaults.body(), **({"suffix": suffix} if suffix else {})}
        if not overwrite:
            check(output, Origin(questions.digest, None, made_with))  # before a server is started
        with server_for(target, key) as address:
            batch = Batch(questions, output, model, made_with, concurrency, attempts, timeout, overwrite)  # type: ignore[arg-type]
            outcome = run(batch, address, key)
    except InputError as error:
        raise click.UsageError(str(error)) from None
    for line in outcome.summary:
        click.echo(line)
    click.echo(f"answers: {output}")
    return 1 if outcome.failed else 0
