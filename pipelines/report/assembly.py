"""Tools that put every report together: templates, and figures as files and in the page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cluster.files import make_directory, write_atomically
from pipelines.report.drawing import WIDTH_IN, FigureSpec, Subject, png
from pipelines.report.kinds import breakable, kind_label
from pipelines.report.theme import DARK, LIGHT
from pipelines.wording import percent, points

_TEMPLATES = Path(__file__).parent
_POLICY_HERE = "the policy"


@dataclass(frozen=True, slots=True)
class FigureBlock:
    """A figure as the page shows it; the images are base64 PNGs, empty if there is no data."""

    title: str
    caption: str
    needs: str
    light: str
    dark: str


def filled(template: str, values: Mapping[str, object]) -> str:
    """Return a template of this package, filled with the values, as HTML. All text among the values is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["points"] = points
    environment.filters["kind"] = kind_label
    environment.filters["breakable"] = breakable
    page = environment.get_template(template).render(
        values, figure_width_px=round(WIDTH_IN * 96), light=LIGHT, dark=DARK, policy=_POLICY_HERE
    )
    return page.replace(_POLICY_HERE, _policy(page), 1)


def _policy(page: str) -> str:
    """Return a content security policy that allows the page's own style and script by their digests, and nothing else.

    The style is the page's first and the script its last. All that data could write is between them.
    """
    style = page.partition("<style>")[2].partition("</style>")[0]
    script = page.rpartition("<script>")[2].partition("</script>")[0] if "<script>" in page else None
    return (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(text: str | None) -> str:
    """Return how a policy names a text by its digest; nothing is allowed if there is none."""
    return "'none'" if text is None else f"'sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}'"


def write_figures(specs: Sequence[FigureSpec[Subject]], subject: Subject, directory: Path) -> list[FigureBlock]:
    """Draw all figures for light and dark screens, save them in the directory, and return them for the page."""
    make_directory(directory)
    blocks = []
    for spec in specs:
        images = []
        for theme, suffix in ((LIGHT, ""), (DARK, "-dark")):
            image = png(spec, subject, theme)
            path = directory / f"{spec.name}{suffix}.png"
            if image is None:
                path.unlink(missing_ok=True)
            else:
                write_atomically(path, image)
            images.append("" if image is None else b64encode(image).decode("ascii"))
        blocks.append(FigureBlock(spec.title, spec.caption, spec.needs, *images))
    return blocks
