"""The page's routes, and that it has the colours of the reports."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib.resources import files

from fastapi import FastAPI
from fastapi.testclient import TestClient

from actors.serving.page import page_routes
from pipelines.report.theme import DARK, LIGHT

NAMES = {"teacher_wash": "wash"}


def test_page_and_its_parts_are_served_and_are_not_in_the_schema() -> None:
    app = FastAPI()
    page_routes(app)
    client = TestClient(app)
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for part in re.findall(r'(?:src|href)="(page/[^"]+)"', page.text):
        answer = client.get(f"/{part}")
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"].startswith(("text/css", "text/javascript"))
    assert client.get("/page/__init__.py").status_code == 404
    assert client.get("/openapi.json").json()["paths"] == {}


def test_page_has_the_colours_of_the_reports() -> None:
    style = files("actors.serving.page").joinpath("look.css").read_text(encoding="utf-8")
    found = dict(re.findall(r"--([a-z]+): light-dark\((#\w{6}, #\w{6})\)", style))
    ours = {
        NAMES.get(one.name, one.name): f"{getattr(LIGHT, one.name)}, {getattr(DARK, one.name)}" for one in fields(LIGHT)
    }
    assert found == {name: ours[name] for name in found} and {"student", "teacher", "relay", "wash"} <= found.keys()


def test_no_model_text_can_become_markup() -> None:
    for file in files("actors.serving.page").iterdir():
        if file.name.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.read_text())
