"""Commands in this process, through Click's runner."""

from click.testing import CliRunner

from alexnet_keras.cli.main import cli


def invoke(*arguments, **settings):
    """Runs `alexnet` with these words, paths and numbers, and with settings of Click's runner, such as `input`."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], **settings)
