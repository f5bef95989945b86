"""API keys: who is let in, as whom, and which keys are refused at the start."""

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.serving.errors import ApiError
from actors.serving.guards.amounts import Limits
from actors.serving.guards.keys import ApiKeyError, KeyRing, with_digests
from actors.serving.guards.settings import GuardSettings

FIRST, SECOND = "first-key-0123456789", "second-key-0123456789"
SETTINGS = GuardSettings.model_validate(
    {
        "keys": [
            {"name": "first", "key_env": "FIRST", "budget": {"teacher_tokens": 7, "cost": 0.1}},
            {"name": "second", "key_sha256": hashlib.sha256(SECOND.encode()).hexdigest(), "admin": True},
        ]
    }
)
RING = KeyRing(SETTINGS, {"FIRST": FIRST})


def scope(*authorization: str, client: tuple[str, int] = ("127.0.0.1", 1)) -> dict[str, Any]:
    headers = [(b"authorization", value.encode("latin-1")) for value in authorization]
    return {"type": "http", "headers": headers, "client": client}


def test_each_key_is_its_caller() -> None:
    first, second = (RING.identify(scope(f"Bearer {key}")) for key in (FIRST, SECOND))
    assert (first.name, first.admin, second.name, second.admin) == ("first", False, "second", True)
    assert first.limits == Limits(teacher_tokens=7, cost_micro=100_000)
    assert RING.identify(scope(f"bearer   {SECOND} ")).name == "second"


@pytest.mark.parametrize(
    "authorization",
    [
        (),
        ("",),
        ("Bearer",),
        ("Bearer ",),
        (FIRST,),
        (f"Basic {FIRST}",),
        (f"Bearer {FIRST}x",),
        (f"Bearer {FIRST[:-1]}",),
    ],
)
def test_any_other_header_is_refused(authorization: tuple[str, ...]) -> None:
    with pytest.raises(ApiError) as caught:
        RING.identify(scope(*authorization))
    assert caught.value.status == 401 and caught.value.headers["www-authenticate"].startswith("Bearer")
    assert FIRST not in caught.value.message


def test_two_headers_are_refused_although_both_are_right() -> None:
    with pytest.raises(ApiError, match="once"):
        RING.identify(scope(f"Bearer {FIRST}", f"Bearer {FIRST}"))


@given(st.binary(max_size=40))
def test_no_other_token_is_let_in(token: bytes) -> None:
    if token not in (FIRST.encode(), SECOND.encode()):
        with pytest.raises(ApiError):
            RING.caller_of_token(token)


@pytest.mark.parametrize("token", [FIRST, SECOND, "wrong"])
def test_every_key_is_compared_whichever_matches(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    plain = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: (compared.append(a), plain(a, b))[1])
    try:
        RING.caller_of_token(token.encode())
    except ApiError:
        assert token == "wrong"
    assert len(compared) == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "and it is not set"),
        ("", "and it is not set"),
        ("short", "16 characters or more, not 5"),
        (f" {FIRST}", "without spaces"),
        (f"{FIRST}\n", "without spaces"),
        ("schlüssel-0123456789", "printable ASCII"),
        (SECOND, "should be another key than that of"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_at_the_start(value: str | None, message: str) -> None:
    with pytest.raises(ApiKeyError, match=message) as caught:
        KeyRing(SETTINGS, {} if value is None else {"FIRST": value})
    assert "guards.keys." in str(caught.value)
    assert not value or value.strip() not in str(caught.value)


def test_without_keys_local_callers_are_admins_and_others_are_refused() -> None:
    ring = KeyRing(GuardSettings(), {})
    assert ring.empty
    assert ring.identify(scope()).admin
    for client in (("192.0.2.7", 1), None):
        with pytest.raises(ApiError, match="its own machine only"):
            ring.identify(scope(client=client))


def test_digests_stand_for_the_variables() -> None:
    settings = with_digests(SETTINGS, {"FIRST": "first-key-0123456789"})
    assert KeyRing(settings, {}).caller_of_token(b"first-key-0123456789").name == settings.keys[0].name
    assert not any(key.key_env for key in settings.keys)
