"""Every command, option and program in README.md and docs/ is run, or at least understood.

A page's commands and programs are run in their order, in a folder of the page's own that holds what the page takes for
granted (`GIVEN`), with the built-in recipes a few kernels wide and for one epoch (`SHORTER`). What cannot be run here
(`UNDERSTOOD`) is parsed, like every command that the prose or a usage line names.
"""

import contextlib
import io
import json
import re
import tomllib

import click
import pytest
from click.testing import CliRunner
from documented import LANGUAGES, PAGES, ROOT, Block, Command, blocks, commands, prose, spans, usages
from narrow import narrow
from surroundings import Surroundings

from alexnet_keras.cli.main import cli
from alexnet_keras.experiments import ablations, modern, table_1
from alexnet_keras.experiments.catalog import EXPERIMENTS
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.toml import to_toml

# What a page takes for granted, by path in its folder.
GIVEN = {
    "README.md": ["photos", "photo.jpg", "elsewhere/ImageNet"],
    "docs/backends.md": ["saved_models/my-run", "photos"],
    "docs/coming-from.md": ["photos", "photo.jpg"],
    "docs/evaluation.md": [
        "photo.jpg", "holiday", "cat.jpg", "dog.jpg",
        "saved_models/my-run", "saved_models/run-1", "saved_models/run-2", "saved_models/run-3",
    ],
    "docs/exporting.md": ["saved_models/my-run", "photo.jpg"],
    "docs/features-and-search.md": ["saved_models/my-run", "photo.jpg"],
    "docs/index.md": ["photos"],
    "docs/guide.md": ["data/photos"],
    "docs/modern.md": ["data/imagenette"],
    "docs/paper.md": ["data/imagenette"],
    "docs/preparing-data.md": ["photos", "data/photos", "elsewhere/ImageNet"],
    "docs/serving.md": ["saved_models/my-run", "photo.jpg"],
    "docs/training.md": [
        "data/imagenet", "data/flowers", "trashnet", "data/imagenette",
    ],
    "docs/weights.md": [
        "bvlc_alexnet.caffemodel", "imagenet_mean.binaryproto", "synset_words.txt", "photo.jpg", "data/imagenet",
        "data/flowers",
    ],
}  # fmt: skip

# Parts of arguments that are something else here: another place, fewer shards.
REPLACED = {"/data/": "elsewhere/", "/media/stick": ".torch/hub/checkpoints", "256:512": "1:2", "0:256": "0:1"}

# What is added to commands that begin so, for time alone.
SHORTER = {
    "alexnet train": ("--epochs", "1"),
    "alexnet demo": ("--epochs", "1"),
    "alexnet search build": ("--epochs", "1"),
    "alexnet reproduce figure-3": ("--epochs", "1", "--seeds", "1"),
    "alexnet reproduce figure-4": ("--epochs", "1", "--seeds", "1"),
    "alexnet reproduce ablations": ("--epochs", "1", "--seeds", "1", "--only", "no-lrn"),
    "alexnet reproduce modern": ("--epochs", "2", "--seeds", "1", "--only", "without-averaging"),
}

# What is not run but parsed, by how it begins (without variables of the environment), and why.
UNDERSTOOD = {
    "alexnet prepare photos --beam-runner": "takes half a minute; tests/data/test_many_machines.py runs it",
    "alexnet train --data /data/imagenet256": "waits for another machine; tests/training/test_cluster.py has two",
    "alexnet benchmark": "takes minutes; tests/cli/test_benchmark_command.py runs it",
    "alexnet info plan": "takes minutes; tests/cli/test_plan_command.py runs it",
    "alexnet reproduce figure-1": "takes an hour on CIFAR-10; tests/cli/test_reproduce_command.py has a little one",
    "alexnet reproduce cifar-lrn": "takes hours on CIFAR-10; tests/cli/test_reproduce_command.py has a little one",
    "alexnet reproduce ablations --data imagenette --only no-lrn,no-crops": "is the one above with more networks",
    "alexnet reproduce initialisation": "takes ten minutes; tests/cli/test_reproduce_command.py has a narrow network",
    "alexnet reproduce table-1": "takes twenty minutes; tests/cli/test_reproduce_command.py runs it on a toy set",
    "alexnet reproduce table-2": "trains for days; tests/cli/test_reproduce_command.py runs it in miniature",
    "alexnet serve": "runs until it is stopped; tests/cli/test_serve_command.py starts and stops it",
    "pip install": "installs what is installed here; the extras have to exist",
    "KERAS_BACKEND=jax alexnet train": "is refused, as the page says; tests/backends looks at the refusal",
    "make backends": "installs JAX and PyTorch; tests/backends runs it where they are",
}

# What `reproduce --only` takes.
PARTS = {"ablations": ablations.ABLATIONS, "table-1": table_1.CLAIMS, "modern": dict.fromkeys(modern.PARTS)}
ELSEWHERE = {"apache-beam[dask]", "jax", "torch"}  # packages that are their users' to install

EVERY_COMMAND = [command for page in PAGES for block in blocks(page) for command in commands(block)]
EVERY_USAGE = sorted({(page, usage) for page in PAGES for usage in usages(page)})


def understood(command: Command) -> bool:
    return any(said.startswith(beginning) for beginning in UNDERSTOOD for said in (str(command), command.line))


def leaf(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words after `alexnet` name, and its arguments."""
    command, rest = cli, list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-") and not rest[0].isupper():
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name!r} in {command.name}"
        command = command.commands[name]
    return command, rest


def parse(words: list[str]) -> click.Context:
    """Fails as the command line does, with every option, choice, number and count of arguments looked at."""
    command, rest = leaf([word for word in words if word != "--help"])
    assert not isinstance(command, click.Group) or rest or "--help" in words, "a group of commands alone"
    return command.make_context(command.name, rest)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_holds(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, block.place
        if block.language == "python":
            compile(block.text, block.place, "exec")
    indented = re.findall(r"^\n {4,}(?=\S)(?![-*\d])(.*)", prose(page), re.MULTILINE)
    assert not indented, "a block that is indented, not fenced, and so not looked at"


def test_the_tables_name_nothing_that_the_pages_have_lost():
    said = [said for command in EVERY_COMMAND for said in (str(command), command.line)]
    said += [recipe_of(*command.words[1:]) for command in EVERY_COMMAND if command.words[0] == "make"]
    for beginning in (*UNDERSTOOD, *SHORTER):
        assert any(command.startswith(beginning) for command in said), beginning
    for page, given in GIVEN.items():
        text = "\n".join(block.text for block in blocks(page))
        for name in given:
            assert name.rpartition("/")[2] in text, f"{page} does not speak of {name}"
    for part in REPLACED:
        assert any(part in command for command in said), part


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: f"{command.place} {command}")
def test_every_command_is_understood(command):
    understand(command)


@pytest.mark.parametrize("page", PAGES)
def test_extras_and_targets_that_the_prose_names_exist(page):
    for span in spans(page):
        if span.startswith(("pip ", "make ")):
            for command in commands(Block(page, 0, "sh", span)):
                understand(command)


def understand(command: Command) -> None:
    match command.words:
        case ("alexnet", *words):
            parse(words)
            check_experiment(words)
        case ("pip", "install", *arguments):
            check_installed(arguments)
        case ("make", target):
            recipe_of(target)
        case _:
            pytest.fail(f"{command.place}: nothing here knows how to check `{command}`")
    if "TF_CONFIG" in command.environment:
        assert {"cluster", "task"} == json.loads(command.environment["TF_CONFIG"]).keys()


def check_experiment(words: list[str]) -> None:
    """`reproduce` takes any name of an experiment and its parts, and refuses it later."""
    if words[:1] == ["reproduce"] and len(words) > 1:
        assert words[1] in {"list", "report", *EXPERIMENTS}, words[1]
    if "--only" in words:
        only = words[words.index("--only") + 1].split(",")
        assert set(only) <= PARTS[words[1]].keys(), only


def check_installed(arguments: list[str]) -> None:
    """The extras that `pip install` names exist, and so does a file of requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for argument in arguments:
        if extras := re.fullmatch(r"(?:\.|alexnet-keras)\[(.+)\]", argument):
            assert set(extras[1].split(",")) <= project["optional-dependencies"].keys(), argument
        elif argument not in {"-e", "-r", ".", *ELSEWHERE}:
            assert (ROOT / argument).is_file() or argument == project["name"], argument


def recipe_of(target: str) -> str:
    """What `make TARGET` runs."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found, f"the Makefile has no {target}"
    return found[1].replace("\t$(BIN)/", "")


@pytest.mark.parametrize(("page", "usage"), EVERY_USAGE)
def test_every_command_that_is_named_exists_with_its_options_and_choices(page, usage):
    words = re.sub(r"\[([^\]]*)\]", r" \1 ", usage).replace("...", " ").split()[1:]
    command, rest = leaf(words)
    options = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    values = iter(rest)
    for word in values:
        if word == "--help" or word.isupper() or word == "|":
            continue
        if word.startswith("-"):
            assert word in options, f"{page}: {command.name} has no {word}"
            parameter = options[word]
            if parameter.is_flag or parameter.nargs == 0:
                continue
            word = next(values, "VALUE")
        else:
            assert arguments, f"{page}: {command.name} takes no {word}"
            parameter = arguments[0] if arguments[0].nargs == -1 else arguments.pop(0)
        if not isinstance(parameter.type, click.Path):
            for value in word.split("|"):
                if not value.isupper():
                    parameter.type.convert(value, parameter, None)
    check_experiment(words)


def all_commands(command: click.Command):
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from all_commands(inner)


def help_of(command: click.Command) -> str:
    return command.get_help(command.context_class(command, info_name=command.name))


@pytest.mark.parametrize("command", list(all_commands(cli)), ids=lambda command: command.name)
def test_every_example_of_a_help_text_is_understood(command):
    examples = re.findall(r"^ +(?:Examples?: )?(alexnet [^`\n]*)$", help_of(command), re.MULTILINE)
    for example in commands(Block("--help", 0, "sh", "\n".join(examples))):
        words = [word for word in example.words[1:] if word != "--help"]
        parse(words)
        check_experiment(words)


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_is_named_exists(page):
    options = set(re.findall(r"--[a-z][a-z-]*", "".join(map(help_of, all_commands(cli)))))
    scripts = "".join(file.read_text() for file in (ROOT / "benchmarks").glob("*.py"))
    for span in spans(page):
        if span.startswith("--"):
            name = re.match(r"--[a-z-]+", span)[0]
            assert name in options or f'"{name}"' in scripts, f"{page} speaks of {span}"


@pytest.mark.parametrize("page", PAGES)
def test_every_script_of_the_benchmarks_is_there_with_its_options(page):
    for span in spans(page):
        if found := re.match(r"python (benchmarks/\S+)(.*)", span):
            script = (ROOT / found[1]).read_text()
            for option in re.findall(r"--[a-z-]+", found[2]):
                assert f'"{option}"' in script, f"{page}: {found[1]} has no {option}"


@pytest.fixture(scope="module")
def prepared_photos(images, tmp_path_factory):
    """A prepared dataset called photos."""
    from alexnet_keras.data.preparation import prepare
    from alexnet_keras.data.sources.folder import folder_source

    return prepare(folder_source(images), tmp_path_factory.mktemp("data") / "photos", seed=0)


@pytest.fixture(scope="module")
def trained_run(prepared_photos, tiny, tmp_path_factory):
    """A finished run on it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(to_toml(tiny))
    arguments = ["train", "--data", str(prepared_photos.path), "--recipe", "tiny.toml", "--run", "trained"]
    with contextlib.chdir(folder):
        result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.stderr
    return folder / "saved_models/trained"


def steps(page: str) -> list[Command | Block]:
    """A page's commands and programs, in their order."""
    return [step for block in blocks(page) for step in ([block] if block.language == "python" else commands(block))]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if steps(page)])
def test_what_a_page_says_is_run_in_its_order(page, tmp_path, monkeypatch, write_images, prepared_photos, trained_run):
    from alexnet_keras.data.sources import demo

    for name in BUILT_IN:
        monkeypatch.setitem(BUILT_IN, name, narrow(name))
    few = {**demo.demo_source.__kwdefaults__, "train": 4, "val": 2}  # demo images of a class
    monkeypatch.setattr(demo.demo_source, "__kwdefaults__", few)
    surroundings = Surroundings(tmp_path, write_images, prepared_photos, trained_run)
    for name in GIVEN.get(page, ()):
        surroundings.make(name)
    surroundings.publish(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # a page that chooses another does so too late, and is undone
    for step in steps(page):
        if isinstance(step, Block):
            exec(compile(step.text, step.place, "exec"), {"__name__": "__main__"})
        elif not understood(step):
            run(step)


def run(command: Command) -> None:
    """Runs a command in this process: what it prints goes where the page says, and it has to end well."""
    program, *words = command.words
    if program == "make":
        words = recipe_of(*words).split()[1:]
    for part, here in REPLACED.items():
        words = [word.replace(part, here) for word in words]
    said = " ".join(["alexnet", *words])
    for beginning, options in SHORTER.items():
        if said.startswith(beginning) and "--resume" not in words:
            words += options
    stdin = open(command.reads, "rb") if command.reads else io.BytesIO()  # noqa: PTH123, SIM115
    with stdin, pytest.MonkeyPatch.context() as patch:
        for name, value in command.environment.items():
            patch.setenv(name, value)
        result = CliRunner().invoke(cli, words, input=stdin)
    assert result.exit_code == 0, f"{command.place}: `{command}` ends with {result.exit_code}: {result.stderr}"
    if command.writes:
        with open(command.writes, "wb") as file:  # noqa: PTH123
            file.write(result.stdout_bytes)
