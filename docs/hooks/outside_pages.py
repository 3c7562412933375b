"""Takes into the site what docs/ links to outside itself, such as ../benchmarks/README.md, and what that links to.

On the site docs/ is the root, and the rest of the repository lies beside its pages: `../benchmarks/README.md` in
docs/performance.md becomes benchmarks/README.md, `../docs/performance.md` in that becomes ../performance.md. So one
link serves the site and whoever reads the files. README.md stays outside: on the site index.md is in its place.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

LINK = re.compile(r"(?<=\]\()(?!https?:|#|/)([^)#\s]+)((?:#[^)\s]*)?)(?=\))")
DOCS, README, HOME = "docs", "README.md", "index.md"


def on_files(files, config):
    """Adds every file outside docs/ that a page links to, and then what that links to."""
    root = Path(config.config_file_path).parent
    waiting = [f"{DOCS}/{file.src_uri}" for file in files if file.src_uri.endswith(".md") and not file.generated_by]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        for target in _targets((root / page).read_text(encoding="utf-8"), page):
            inside = target.startswith(f"{DOCS}/")
            if target in seen or inside or target == README or not (root / target).is_file():
                continue
            seen.add(target)
            files.append(File.generated(config, target, abs_src_path=str(root / target)))
            if target.endswith(".md"):
                waiting.append(target)
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links from the repository's layout to the site's."""
    uri = page.file.src_uri
    outside = page.file.generated_by and (Path(config.config_file_path).parent / uri).is_file()
    folder = posixpath.dirname(uri if outside else f"{DOCS}/{uri}")

    def on_site(found):
        target = posixpath.normpath(posixpath.join(folder, found[1]))
        target = HOME if target == README else target.removeprefix(f"{DOCS}/")
        return posixpath.relpath(target, posixpath.dirname(uri) or ".") + found[2]

    return LINK.sub(on_site, markdown)


def _targets(markdown: str, page: str) -> list[str]:
    """The files that a page links to, as paths in the repository."""
    return [posixpath.normpath(posixpath.join(posixpath.dirname(page), found[1])) for found in LINK.finditer(markdown)]
