"""A teacher behind a url, as the server's replicas reach it."""

from __future__ import annotations

from actors.engines.endpoint import Patience
from actors.engines.teachers import Recording, ServedTeacher, TeacherAccess
from actors.serving.settings import ServerSettings
from cluster.loading import loading


def remote_teacher(settings: ServerSettings) -> ServedTeacher | None:
    """Return the teacher behind a url as it was found now; None if there is none. Raises `UnsuitableServerError`."""
    server = None if settings.teacher is None else settings.teacher.endpoint
    if server is None:
        return None
    with loading():
        from transformers import AutoTokenizer

    from actors.engines.openai_probe import detected

    tokenizer = AutoTokenizer.from_pretrained(settings.teacher_tokenizer, trust_remote_code=False)
    return ServedTeacher(server, detected(server, tokenizer, settings.teacher_context_tokens))


def access_to(remote: ServedTeacher, settings: ServerSettings) -> TeacherAccess:
    """Return how a student replica reaches the teacher. A call and its retries have `limits.teacher_timeout_s` together."""
    server, cache = remote.server, None if settings.teacher is None else settings.teacher.cache
    recording = None
    if cache is not None:
        recording = Recording(cache, repr((server.base, server.model, server.tokenizer, remote.wire.mode.value)))
    patience = Patience(timeout_s=settings.limits.teacher_timeout_s)
    return TeacherAccess(served=remote, recording=recording, patience=patience)
