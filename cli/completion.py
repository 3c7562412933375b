"""`alexnet completion`."""

import click
from click.shell_completion import get_completion_class

from alexnet_keras.cli import console

PROGRAM, VARIABLE = "alexnet", "_ALEXNET_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's script for completion with the Tab key.

    It completes commands, options, and the names of runs, datasets, recipes, experiments and layers.

    Examples:

    \b
        alexnet completion bash >> ~/.bashrc
        alexnet completion zsh >> ~/.zshrc
        alexnet completion fish > ~/.config/fish/completions/alexnet.fish
    """
    root = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None, shell  # Click has one for every shell that --help lists
    made = kind(root, {}, PROGRAM, VARIABLE)
    values = made.source_vars()  # source() itself would ask which bash this is, which may be another machine's
    console.result(made.source_template % values, fit=False)
