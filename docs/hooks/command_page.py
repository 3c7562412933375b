"""Makes reference/commands.md of the commands' own help."""

import inspect
import re
from collections.abc import Iterator

import click
from mkdocs.structure.files import File

from alexnet_keras.cli.main import cli

HEAD = """# Commands

Every command as its own `--help` has it.
"""


def on_files(files, config):
    files.append(File.generated(config, "reference/commands.md", content=page_of(cli)))
    return files


def page_of(root: click.Group) -> str:
    """Markdown of a group's command, all those in it, and theirs."""
    context = click.Context(root, info_name="alexnet", **root.context_settings)
    return HEAD + "\n".join(_sections(root, context, level=2))


def _sections(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield f"\n{'#' * level} {context.command_path}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {usage}\n```\n"
    yield from _text(command.help)
    for title, options in _options(command, context).items():
        yield f"**{title}**\n"
        yield from options
    yield from _text(command.epilog)
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        inner = command.commands[name]
        settings = {"info_name": name, "parent": context, **inner.context_settings}
        yield from _sections(inner, click.Context(inner, **settings), min(level + 1, 4))


def _text(text: str | None) -> Iterator[str]:
    """Paragraphs; one that Click is told not to fill, after a backspace, holds examples or a list in columns."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text or "").strip()):
        if not paragraph.startswith("\b"):
            yield f"{_escaped(' '.join(paragraph.split()))}\n"
            continue
        block = paragraph.removeprefix("\b").strip("\n")
        examples = re.sub(r"\AExamples?:\s+", "", block)
        language = "text" if examples == block else "sh"
        lines = block.splitlines() if examples == block else [line.strip() for line in examples.splitlines()]
        yield "\n".join([f"```{language}", *lines, "```\n"])


def _options(command: click.Command, context: click.Context) -> dict[str, list[str]]:
    """Definitions of the options, by the section of the help in which they stand."""
    sections: dict[str, list[str]] = {}
    for option in command.get_params(context):
        if isinstance(option, click.Option) and (record := option.get_help_record(context)):
            title = getattr(option, "section", "Options")
            sections.setdefault(title, []).append(f"`{record[0]}`\n:   {_escaped(record[1])}\n")
    return dict(sorted(sections.items(), key=lambda section: section[0] == "Options"))


def _escaped(text: str) -> str:
    """Plain text, with `code` in backticks, as Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<\[\]])", r"\\\1", part) for part in parts)
