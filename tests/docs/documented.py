"""What README.md and docs/ tell a reader to type, read from the pages themselves.

A fence's language says what is in it: `sh` holds commands, `console` commands after "$ " and what they print, `python`
programs; `text` is anything else, with usages such as `alexnet visualize curves [RUN]...` where a line begins with
`alexnet`. Commands and options in the prose stand in backticks.
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(str(file.relative_to(ROOT)) for file in (ROOT / "docs").rglob("*.md")))
LANGUAGES = {"sh", "console", "python", "text"}

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
ASSIGNMENT = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True)
class Block:
    """A fenced block and where it is."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a block: `a && b` are two."""

    place: str
    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    reads: str | None = None  # after <
    writes: str | None = None  # after > or >>

    def __str__(self) -> str:
        return shlex.join(self.words)

    @property
    def line(self) -> str:
        """The command with what is set for it alone."""
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), str(self)])


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    text = text_of(page)
    return [
        Block(page, text.count("\n", 0, found.start()) + 2, found[1].strip(), found[2])
        for found in FENCE.finditer(text)
    ]


def prose(page: str) -> str:
    """The page without its blocks."""
    return FENCE.sub("", text_of(page))


def commands(block: Block) -> list[Command]:
    """The commands of a block, in their order; none in a block that holds something else."""
    if block.language not in ("sh", "console"):
        return []
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [command for line in lines for command in _parts(block.place, line)]


def spans(page: str) -> list[str]:
    """What stands in backticks in the prose, on one line each."""
    return [" ".join(found.split()) for found in SPAN.findall(prose(page))]


def usages(page: str) -> list[str]:
    """Commands as the prose and usage lines name them: with options left out, and placeholders in capitals."""
    named = [span for span in spans(page) if span.startswith("alexnet ")]
    lines = [line for block in blocks(page) if block.language == "text" for line in block.text.splitlines()]
    return named + [line for line in lines if line.startswith("alexnet ")]


def _parts(place: str, line: str) -> list[Command]:
    tokens = shlex.shlex(line, posix=True, punctuation_chars="&;|<>")
    tokens.whitespace_split = True
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token in ("&&", ";"):
            parts.append([])
        else:
            parts[-1].append(token)
    return [_command(place, part) for part in parts if part]


def _command(place: str, tokens: list[str]) -> Command:
    environment, words, files = {}, [], {}
    rest = iter(tokens)
    for token in rest:
        if token in ("<", ">", ">>"):
            files[token[0]] = next(rest)
        elif ASSIGNMENT.match(token) and not words:
            name, _, value = token.partition("=")
            environment[name] = value
        else:
            words.append(token)
    return Command(place, tuple(words), environment, files.get("<"), files.get(">"))
