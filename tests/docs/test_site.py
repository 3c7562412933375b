"""The documentation as a site: it builds without a warning, is whole, and asks nothing of any other machine."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from documented import ROOT, text_of

import alexnet_keras
from alexnet_keras import layers
from alexnet_keras.cli.main import cli

pytest.importorskip("mkdocs", reason="needs the extra docs")
pytestmark = pytest.mark.slow  # the site is built


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it, which fails at a warning."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr
    return folder


class Fetched(HTMLParser):
    """What a browser fetches when it opens a page."""

    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "source") and "src" in found:
            self.urls.append(found["src"])
        if tag == "link":
            self.urls.append(found["href"])


def fetched(page: Path) -> list[str]:
    parser = Fetched()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.urls


def test_nothing_is_fetched_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        for url in fetched(page):
            assert not re.match(r"(https?:)?//", url), f"{page.name} fetches {url}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_search_has_what_it_needs_on_a_page_that_is_opened_from_disk(site):
    index = (site / "search/search_index.js").read_text(encoding="utf-8").removeprefix("var __index = ")
    found = {entry["location"] for entry in json.loads(index)["docs"] if "checkpoint" in entry["text"].lower()}
    assert "training.html#stopping-and-resuming" in found
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its addresses begin at the root of a server
            continue
        scripts = [(page.parent / url).resolve() for url in fetched(page) if url.endswith(".js")]
        worker, bundle = scripts[:2]
        assert worker == (site / "iframe-worker.js").resolve() and bundle.name.startswith("bundle."), page


def test_links_lead_to_files_that_are_there(site):
    assert not (site / "docs").exists(), "a file of docs/ a second time, as if it lay outside"
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its links begin at the root of a server
            continue
        for url in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", url):
                assert (page.parent / url).exists(), f"{page.relative_to(site)} links to {url}"


def test_every_command_and_option_is_on_the_page_of_commands(site):
    page = text_in(site / "reference/commands.html")

    def look(command: click.Command, path: str):
        assert path in page
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.opts[0] in page, f"{path} {parameter.opts[0]}"
        for name, inner in getattr(command, "commands", {}).items():
            look(inner, f"{path} {name}")

    look(cli, "alexnet")
    assert "alexnet train --data flowers --recipe source --epochs 40 --gpus 2" in page  # an example of its help


def test_every_public_name_has_its_docstring_on_a_page(site):
    pages = {page: text_in(page) for page in (site / "reference").glob("*.html")}
    named = [(name, getattr(alexnet_keras, name)) for name in alexnet_keras.__all__ if name != "__version__"]
    named += [(name, getattr(layers, name)) for name in layers.__all__]
    for name, found in named:
        summary, _, _ = found.__doc__.replace("`", "").partition("\n\n")
        told = " ".join(summary.split())[:60]
        assert any(told in page for page in pages.values()), name


def text_in(page: Path) -> str:
    """The page's words, tags taken out."""
    text = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, character)
    return " ".join(text.split())


def test_the_walkthrough_is_on_its_page_word_by_word(site):
    page = text_in(site / "walkthrough.html")
    for line in text_of("docs/walkthrough.py").splitlines():
        if not re.search(r'`|"""|\]\(|^#', line):  # Markdown
            assert " ".join(line.split()) in page, line
