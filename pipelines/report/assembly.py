"""Tools that put every report together: templates, and figures as files and in the page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cluster.files import make_directory, write_atomically
from pipelines.report.drawing import WIDTH_IN, FigureSpec, Subject, png
from pipelines.report.kinds import breakable, kind_label
from pipelines.report.theme import DARK, LIGHT
from pipelines.wording import percent, points

_TEMPLATES = Path(__file__).parent


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
    return environment.get_template(template).render(
        values, figure_width_px=round(WIDTH_IN * 96), light=LIGHT, dark=DARK
    )


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
