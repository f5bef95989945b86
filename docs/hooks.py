"""A hook of MkDocs: files outside docs/ that a page links to become part of the site, as plain text.

On GitHub such a link, `../pipelines/…`, leads to the file itself. The site has no repository beside it.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()((?:\.\./)+)([^)#\s]+)(?:#[^)\s]*)?(?=\))")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with its links out of docs/ led to copies within the site."""
    folder = Path(config.docs_dir, page.file.src_uri).parent
    root = Path(config.docs_dir).parent

    def copied(link: re.Match[str]) -> str:
        target = (folder / link[1] / link[2]).resolve()
        if target.is_relative_to(config.docs_dir) or not target.is_file():
            return link[0]
        uri = f"source/{target.relative_to(root)}.txt"
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(target)))
        return "../" * page.file.src_uri.count("/") + uri

    return LINK.sub(copied, markdown)
