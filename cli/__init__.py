"""The `alexnet` command line: one file a command. Commands parse, call the package and print; nothing else.

TensorFlow is imported inside commands, never here, so that `--help` answers at once.
"""
