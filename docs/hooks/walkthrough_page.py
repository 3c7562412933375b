"""Makes walkthrough.md of walkthrough.py: its strings are the prose, the rest is the code between them."""

import ast
from pathlib import Path

from mkdocs.structure.files import File

PROGRAM, PAGE = "walkthrough.py", "walkthrough.md"


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
    lines, parts, start = program.splitlines(), [], 0
    for statement in ast.parse(program).body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            parts += [_fenced(lines[start : statement.lineno - 1]), str(statement.value.value).strip()]
            start = statement.end_lineno
    parts.append(_fenced(lines[start:]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _fenced(lines: list[str]) -> str:
    code = "\n".join(lines).strip()
    return f"```python\n{code}\n```" if code else ""
