"""Makes walkthrough.md and walkthrough.ipynb of walkthrough.py: its strings are the prose, the rest is the code.

The page is made with the site. The notebook is kept, so that it can be opened where it is:
`python docs/hooks/walkthrough_page.py` writes it.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.structure.files import File

PROGRAM, PAGE, NOTEBOOK = "walkthrough.py", "walkthrough.md", "walkthrough.ipynb"
INSTALL = """\
import importlib.util

from IPython.display import Image

if importlib.util.find_spec("alexnet_keras") is None:
    %pip install --quiet alexnet-keras"""
FIGURE = re.compile(r'^draw_\w+\(.*, (FOLDER / "[\w.-]+")\)$', re.MULTILINE)
PICTURE = re.compile(r"^!\[.*\]\(.*\)\n*", re.MULTILINE)  # of which a notebook elsewhere has no file


def on_files(files, config):
    """Adds the page; the program itself stays beside it, to be downloaded."""
    program = (Path(config.docs_dir) / PROGRAM).read_text(encoding="utf-8")
    files.append(File.generated(config, PAGE, content=page_of(program)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to the program lead to its page, and from there to the program."""
    return markdown if page.file.src_uri == PAGE else markdown.replace(f"]({PROGRAM})", f"]({PAGE})")


def page_of(program: str) -> str:
    """Markdown of a program that alternates strings and code."""
    cells = (f"```python\n{text}\n```" if kind == "code" else text for kind, text in cells_of(program))
    return "\n\n".join(cells) + "\n"


def notebook_of(program: str) -> str:
    """A notebook of such a program, which installs the package where it is missing and shows the figures it draws."""
    cells = [("code", INSTALL)]
    for kind, text in cells_of(program):
        if kind == "markdown":
            cells.append((kind, PICTURE.sub("", text).strip()))
        else:
            cells += [(kind, text), *((kind, f"Image(filename={path})") for path in FIGURE.findall(text))]
    notebook = {
        "cells": [_cell(number, kind, text) for number, (kind, text) in enumerate(cells) if text],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def cells_of(program: str) -> Iterator[tuple[str, str]]:
    """The strings of a program as "markdown" and what is between them as "code", in order."""
    lines, start = program.splitlines(), 0
    for statement in ast.parse(program).body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            if code := "\n".join(lines[start : statement.lineno - 1]).strip():
                yield "code", code
            yield "markdown", str(statement.value.value).strip()
            start = statement.end_lineno
    if code := "\n".join(lines[start:]).strip():
        yield "code", code


def _cell(number: int, kind: str, text: str) -> dict:
    cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


if __name__ == "__main__":
    docs = Path(__file__).parents[1]
    (docs / NOTEBOOK).write_text(notebook_of((docs / PROGRAM).read_text(encoding="utf-8")), encoding="utf-8")
