"""Mutation testing: does a test fail for each small mistake that is put into the code?

    python tests/mutation/mutants.py                        every module of mutants.toml
    python tests/mutation/mutants.py --only schedule        those whose path contains "schedule"
    python tests/mutation/mutants.py --sample 20            a fifth of each module's mutants, always the same ones

cosmic-ray makes the mutants and keeps the results in a session file, which its `cr-report` and `cr-html` read, too.
This program runs the tests. To import TensorFlow for each of some thousand mutants would take hours: each worker
imports the libraries once, and a process forked from it imports the mutated package and runs the tests. The mutated
trees are copies; the working tree is not touched. A run that was stopped goes on where it was.

`mutants.toml` says which tests judge which modules, and which mutants change nothing that a test could see.
"""

import contextlib
import difflib
import hashlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.mutating import mutate_code, use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.util import read_python_source
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

GOAL = 90  # % of the mutants that change something
LEAST_SAMPLE = 12  # mutants a module
PATIENCE = (5, 20)  # times as long as the tests take without a mutant, and so many seconds more
MEMORY = 8 * 2**30  # bytes that a mutant may allocate: a loop without an end must not take the machine with it
OUTPUT_KEPT = 4000  # characters of a mutant's output
ARITHMETIC = ("arith_expr", "term", "power")  # what `*` and `**` also stand in are signatures, calls and displays
TIMED_OUT = "timed out"


@dataclass(frozen=True)
class Judges:
    """The tests that judge some modules.

    Attributes:
        modules: their paths, in the tree.
        tests: test files or tests, in the tree.
        select: which of their tests, as pytest's -k says it; "" for all.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    select: str = ""

    def arguments(self) -> tuple[str, ...]:
        """What pytest is called with."""
        return (*self.tests, "-k", self.select) if self.select else self.tests


@dataclass(frozen=True)
class Equivalent:
    """A mutant that changes nothing that a test could see.

    Attributes:
        module: its path.
        line: the line of code, without the spaces around it.
        becomes: the line in the mutant, as the report of survivors shows it.
        reason: why it changes nothing.
    """

    module: str
    line: str
    becomes: str
    reason: str


@dataclass(frozen=True)
class Mutant:
    """One mistake, and the line it is in."""

    job: str
    module: str
    operator: str
    occurrence: int
    start: tuple[int, int]
    end: tuple[int, int]
    definition: str | None
    line: str

    def becomes(self, root: Path) -> str:
        """The line in the mutant."""
        operator = get_operator(self.operator)()
        mutated = mutate_code(read_python_source(root / self.module), operator, self.occurrence)
        return mutated.splitlines()[self.start[0] - 1].strip()

    def work_item(self) -> WorkItem:
        """The mutant as cosmic-ray keeps it."""
        spec = MutationSpec(
            self.module, self.operator, self.occurrence, self.start, self.end, definition_name=self.definition
        )
        return WorkItem.single(self.job, spec)


@dataclass
class Settings:
    """What mutants.toml says."""

    operators: list[str]
    preload: list[str]
    pytest: list[str]
    judges: list[Judges]
    equivalent: list[Equivalent]

    @classmethod
    def read(cls, file: Path, root: Path) -> "Settings":
        """Reads the file; patterns of modules become the modules that the tree has.

        Raises:
            click.ClickException: a pattern that no module has.
        """
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        judges = []
        for entry in content["judges"]:
            modules = []
            for pattern in entry["modules"]:
                found = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))
                if not found:
                    raise click.ClickException(f"{file.name}: no module {pattern}")
                modules += found
            judges.append(Judges(tuple(modules), tuple(entry["tests"]), entry.get("select", "")))
        equivalent = []
        for entry in content.get("equivalent", []):
            becomes = entry["becomes"]
            for line in [becomes] if isinstance(becomes, str) else becomes:
                equivalent.append(Equivalent(entry["module"], entry["line"], line, entry["reason"]))
        return cls(content["operators"], content["preload"], content["pytest"], judges, equivalent)


def mutants_of(root: Path, module: str, operators: list[str]) -> Iterator[Mutant]:
    """The mutants of a module. Their names depend on its text alone: results of an unchanged module stay valid."""
    source = read_python_source(root / module)
    tree, lines = get_ast(source), source.splitlines()
    for name in operators:
        operator = get_operator(f"core/{name}")()
        places = ((node, *place) for node in ast_nodes(tree) for place in operator.mutation_positions(node))
        for occurrence, (node, start, end) in enumerate(places):
            if name.startswith("ReplaceBinaryOperator") and node.parent.type not in ARITHMETIC:
                continue
            key = f"{module}\n{source}\n{name}\n{occurrence}"
            yield Mutant(
                hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest(),
                module,
                f"core/{name}",
                occurrence,
                start,
                end,
                ASTQuery(node).get_definition_name(),
                lines[start[0] - 1].strip(),
            )


# ---- in a worker: the tree that is mutated, and the processes forked from it

_tree: Path


def _start_worker(trees, preload: list[str]) -> None:
    global _tree
    _tree = Path(trees.get())
    for name in preload:
        importlib.import_module(name)


@dataclass
class Tried:
    """What the tests made of a tree.

    Attributes:
        passed: whether every test passed.
        seconds: that it took.
        killer: the test that failed, if one did.
        durations: seconds of each test, with what was set up for it.
        output: what was printed, and why it ended.
    """

    passed: bool
    seconds: float
    killer: str | None = None
    durations: dict[str, float] = field(default_factory=dict)
    output: str = ""
    diff: str = ""


def _try(mutant: Mutant | None, tests: tuple[str, ...], options: list[str], order: list[str], limit: float) -> Tried:
    """Runs the tests in a process of their own, on a mutant or on the tree as it is."""
    if mutant is None:
        return _run_tests(tests, options, order, limit, keep_bytecode=True)
    operator = get_operator(mutant.operator)()
    with use_mutation(_tree / mutant.module, operator, mutant.occurrence) as (before, after):
        tried = _run_tests(tests, options, order, limit, keep_bytecode=False)
    differences = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"a/{mutant.module}", f"b/{mutant.module}", lineterm="", n=1
    )
    tried.diff = "\n".join(["--- mutation diff ---", *differences])  # the line that cr-html looks for
    return tried


def _run_tests(tests, options: list[str], order: list[str], limit: float, keep_bytecode: bool) -> Tried:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result, output = Path(folder) / "result.json", Path(folder) / "output"
        child = os.fork()
        if child == 0:
            _be_the_child(tests, options, order, Path(folder), keep_bytecode)
        status = _wait(child, began + limit)
        seconds = time.monotonic() - began
        printed = output.read_text(encoding="utf-8", errors="replace")[-OUTPUT_KEPT:] if output.exists() else ""
        found = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    if status is None:
        return Tried(False, seconds, output=f"{TIMED_OUT} after {limit:.0f} s\n{printed}")
    killer, durations = found.get("killer"), found.get("durations", {})
    return Tried(status == 0, seconds, killer, durations, f"exit status {status}\n{printed}")


def _wait(child: int, deadline: float) -> int | None:
    """The exit status; None if the process had to be ended. What it started in its group ends with it."""
    pause = 0.005
    status = None
    try:
        while status is None and time.monotonic() < deadline:
            done, code = os.waitpid(child, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(code)
            else:
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
    finally:  # after Ctrl-C, too
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        if status is None:
            os.waitpid(child, 0)
    return status


def _be_the_child(tests, options: list[str], order: list[str], folder: Path, keep_bytecode: bool) -> None:
    code = 70
    try:
        os.setsid()
        file = os.open(folder / "output", os.O_CREAT | os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(file, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        os.chdir(_tree)
        # Tests' bytecode is kept from the run without a mutant. The package's goes by the hash of the source: times
        # of change, in seconds, would not tell two mutants apart.
        sys.dont_write_bytecode = not keep_bytecode
        os.environ["PYTHONPATH"] = str(_tree)
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        sys.path.insert(0, str(_tree))
        sys.argv[1:] = []

        import pytest

        watch = _Watch(order, pytest)
        code = int(pytest.main([*tests, *options, "-p", "no:cacheprovider"], plugins=[watch]))
        (folder / "result.json").write_text(json.dumps({"killer": watch.killer, "durations": watch.durations}))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Watch:
    """A pytest plugin: the order of the tests, and what became of them."""

    def __init__(self, order: list[str], pytest) -> None:
        self._rank = {name: place for place, name in enumerate(order)}
        self._exit = pytest.exit
        self.killer = None
        self.durations: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items) -> None:
        items.sort(key=lambda item: self._rank.get(item.nodeid, len(self._rank)))

    def pytest_collection_finish(self) -> None:
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name.partition(".")[0] == "alexnet_keras" and file and not Path(file).is_relative_to(_tree):
                self._exit(f"{name} was imported from {file}, which is not the mutated tree", returncode=71)

    def pytest_runtest_logreport(self, report) -> None:
        self.durations[report.nodeid] = self.durations.get(report.nodeid, 0.0) + report.duration
        if report.failed and self.killer is None:
            self.killer = report.nodeid


# ---- in the parent: which mutants are tried, and the report


@contextlib.contextmanager
def copied_trees(root: Path, count: int) -> Iterator[list[Path]]:
    """Copies of what git tracks, or would track, in folders that go away again."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        stdout=subprocess.PIPE,
        check=True,
    )
    names = [name for name in listed.stdout.decode().split("\0") if name and (root / name).is_file()]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees = [Path(folder).resolve() / f"tree-{number}" for number in range(count)]
        for tree in trees:
            for name in names:
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, tree / name)
            if (tree / "cli").is_dir() and (tree / "alexnet_keras").is_dir():
                (tree / "alexnet_keras" / "cli").symlink_to(tree / "cli")  # as it is installed
            compiling = [
                sys.executable,
                "-m",
                "compileall",
                "-q",
                "--invalidation-mode",
                "checked-hash",
                "alexnet_keras",
            ]
            if (tree / "alexnet_keras").is_dir():
                subprocess.run(compiling, cwd=tree, check=True)
        yield trees


def _digest(tree: Path) -> str:
    """A number of the names and contents of all files of a tree."""
    digest = hashlib.sha1(usedforsecurity=False)
    for path in sorted(path for path in tree.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path.relative_to(tree)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _sampled(mutants: list[Mutant], percent: float | None) -> list[Mutant]:
    """This part of a module's mutants, chosen by their names: at random, but always the same."""
    if percent is None:
        return mutants
    count = max(LEAST_SAMPLE, round(len(mutants) * percent / 100))
    return sorted(mutants, key=lambda mutant: mutant.job)[:count]


def _update(database: WorkDB, every: list[Mutant]) -> None:
    """Makes the session hold exactly these mutants, with the results that it has of them."""
    known = {item.job_id for item in database.work_items}
    if known == {mutant.job for mutant in every}:
        return
    results = dict(database.results)
    database.clear()
    database.add_work_items([mutant.work_item() for mutant in every])
    for mutant in every:
        if mutant.job in results:
            database.set_result(mutant.job, results[mutant.job])


def _result(tried: Tried) -> WorkResult:
    outcome = TestOutcome.SURVIVED if tried.passed else TestOutcome.KILLED
    output = f"killed by {tried.killer}\n{tried.output}" if tried.killer else tried.output
    return WorkResult(WorkerOutcome.NORMAL, output, outcome, tried.diff)


class Trial:
    """Runs mutants on workers, and keeps what it learns about the tests: how long they take and which ones kill."""

    def __init__(self, pool: ProcessPoolExecutor, jobs: int, settings: Settings, tree: Path, kept: Path) -> None:
        self._pool, self._jobs, self._settings = pool, jobs, settings
        self._digest, self._kept = _digest(tree), kept
        self._clean: dict[Judges, Tried] = {}
        self._kills: dict[str, Counter] = {}

    def clean(self, judges: list[Judges]) -> None:
        """Runs the tests without a mutant, unless they passed on this very tree before.

        Raises:
            click.ClickException: they fail, so they judge nothing.
        """
        kept = json.loads(self._kept.read_text(encoding="utf-8")) if self._kept.exists() else {}
        keys = {each: f"{self._digest} {each.arguments()} {self._settings.pytest}" for each in judges}
        known = {each: Tried(**kept[key]) for each, key in keys.items() if key in kept}
        futures = {each: self._submit(None, each, [], 3600.0) for each in judges if each not in known}
        for each in judges:
            tried = self._clean[each] = known[each] if each in known else futures[each].result()
            if not tried.passed:
                raise click.ClickException(f"The tests fail without a mutant: {' '.join(each.tests)}\n{tried.output}")
            kept[keys[each]] = asdict(tried)
            self._kept.write_text(json.dumps(kept), encoding="utf-8")
            click.echo(f"{tried.seconds:6.1f} s for {len(tried.durations)} tests of {', '.join(each.modules)}")

    def run(self, work: list[tuple[Mutant, Judges]], database: WorkDB, seconds: float) -> None:
        """Tries mutants for some time, in a random order, and writes each result down as it comes."""
        waiting, running = sorted(work, key=lambda each: each[0].job, reverse=True), {}
        began, done = time.monotonic(), 0
        while waiting or running:
            while waiting and len(running) < self._jobs:
                mutant, judges = waiting.pop()
                running[self._submit(mutant, judges, self._order(mutant, judges), self._limit(judges))] = mutant
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            if time.monotonic() - began > seconds:
                waiting.clear()
            for future in finished:
                mutant, tried = running.pop(future), future.result()
                if tried.killer:
                    self._kills.setdefault(mutant.module, Counter())[tried.killer] += 1
                database.set_result(mutant.job, _result(tried))
                done += 1
                outcome = "survived" if tried.passed else "killed"
                left = (time.monotonic() - began) / done * (len(work) - done)
                where = f"{mutant.module}:{mutant.start[0]}"
                click.echo(f"{done}/{len(work)} {left / 60:.0f} min left: {outcome} {tried.seconds:.1f} s {where}")

    def _submit(self, mutant: Mutant | None, judges: Judges, order: list[str], limit: float) -> Future:
        return self._pool.submit(_try, mutant, judges.arguments(), self._settings.pytest, order, limit)

    def _limit(self, judges: Judges) -> float:
        return PATIENCE[0] * self._clean[judges].seconds + PATIENCE[1]

    def _order(self, mutant: Mutant, judges: Judges) -> list[str]:
        """Tests that have killed mutants of this module, then the files that take least, cheap tests first."""
        durations = self._clean[judges].durations
        files: Counter = Counter()
        for name, seconds in durations.items():
            files[name.partition("::")[0]] += seconds
        cheap = sorted(
            durations, key=lambda name: (files[name.partition("::")[0]], name.partition("::")[0], durations[name])
        )
        killers = [name for name, _ in self._kills.get(mutant.module, Counter()).most_common(10)]
        return [*killers, *(name for name in cheap if name not in killers)]


def _equivalents(settings: Settings, mutants: list[Mutant], root: Path) -> set[str]:
    """The names of the mutants that the settings call equivalent.

    Raises:
        click.ClickException: an entry speaks of no mutant, so it has outlived its line.
    """
    on_line: dict[tuple[str, str], list[Mutant]] = {}
    for mutant in mutants:
        on_line.setdefault((mutant.module, mutant.line), []).append(mutant)
    found, unused = set(), []
    for entry in settings.equivalent:
        same_line = on_line.get((entry.module, entry.line), [])
        jobs = {mutant.job for mutant in same_line if mutant.becomes(root) == entry.becomes}
        found |= jobs
        if not jobs:
            unused.append(entry)
    if unused:
        lines = "\n".join(f"  {entry.module}: {entry.line}  ->  {entry.becomes}" for entry in unused)
        raise click.ClickException(f"mutants.toml calls mutants equivalent that there are not:\n{lines}")
    return found


def report(mutants: list[Mutant], results: dict[str, WorkResult], equivalent: set[str], root: Path) -> float:
    """Prints a table of the modules, and the survivors. Returns the % killed of those that change something."""
    survivors = []
    rows: dict[str, Counter] = {}
    for mutant in mutants:
        if mutant.job not in results:
            continue
        row, result = rows.setdefault(mutant.module, Counter()), results[mutant.job]
        row["mutants"] += 1
        if result.test_outcome is not TestOutcome.SURVIVED:
            row["killed"] += 1
            row["timed out"] += result.output.startswith(TIMED_OUT)
        elif mutant.job in equivalent:
            row["equivalent"] += 1
        else:
            row["survived"] += 1
            survivors.append(mutant)
    click.echo("\nSurvivors")
    for mutant in survivors:
        click.echo(f"  {mutant.module}:{mutant.start[0]}  {mutant.operator.removeprefix('core/')}")
        click.echo(f"    - {mutant.line}\n    + {mutant.becomes(root)}")
    columns = ("mutants", "killed", "timed out", "equivalent", "survived")
    width = max((len(module) for module in rows), default=5)
    click.echo(f"\n{'module':{width}}" + "".join(f"{column:>12}" for column in (*columns, "score, %")))
    total = sum(rows.values(), Counter())
    for module, row in [*rows.items(), ("all", total)]:
        cells = "".join(f"{row[column]:12}" for column in columns)
        click.echo(f"{module:{width}}{cells}{_score(row):12.1f}")
    return _score(total)


def _score(row: Counter) -> float:
    counted = row["mutants"] - row["equivalent"]
    return 100 * row["killed"] / counted if counted else 100.0


@click.command()
@click.option("--only", multiple=True, metavar="TEXT", help="Only modules whose path contains this.")
@click.option("--sample", type=click.FloatRange(0, 100), metavar="PERCENT", help="A part of each module's mutants.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Mutants at a time.")
@click.option(
    "--minutes", type=float, default=float("inf"), help="Stop after this long: what is done is a fair sample."
)
@click.option("--again", is_flag=True, help="Try the mutants that survived again, against the tests as they are now.")
@click.option("--fresh", is_flag=True, help="Forget the results of earlier runs.")
@click.option("--report", "only_report", is_flag=True, help="Run nothing: report what is known.")
@click.option("--settings", "file", type=click.Path(path_type=Path, exists=True), help="Instead of mutants.toml.")
@click.option("--session", type=click.Path(path_type=Path), help="Instead of .mutants/session.sqlite.")
@click.option("--root", type=click.Path(path_type=Path, exists=True), help="The tree, if not the one this is in.")
def main(only, sample, jobs, minutes, again, fresh, only_report, file, session, root) -> None:
    """Try the mutants and report which survive; exit status 1 if fewer than 90 % are killed."""
    here = Path(__file__).resolve().parent
    root = (root or here.parents[1]).resolve()
    settings = Settings.read(file or here / "mutants.toml", root)
    session = (session or root / ".mutants" / "session.sqlite").resolve()
    session.parent.mkdir(parents=True, exist_ok=True)
    if fresh:
        session.unlink(missing_ok=True)

    judge = {module: each for each in settings.judges for module in each.modules}
    every = {module: list(mutants_of(root, module, settings.operators)) for module in judge}
    everything = [mutant for mutants in every.values() for mutant in mutants]
    equivalent = _equivalents(settings, everything, root)
    modules = [module for module in judge if not only or any(text in module for text in only)]
    wanted = [mutant for module in modules for mutant in _sampled(every[module], sample)]
    if not wanted:
        raise click.ClickException("No such module.")
    with use_db(session) as database:
        _update(database, everything)
        done = {
            job
            for job, result in database.results
            if not (again and result.test_outcome is TestOutcome.SURVIVED and job not in equivalent)
        }
        work = [(mutant, judge[mutant.module]) for mutant in wanted if mutant.job not in done]
        click.echo(f"{len(wanted)} mutants, of which {len(work)} have no result yet")
        if work and not only_report:
            _try_all(work, database, settings, root, jobs, 60 * minutes, session.with_suffix(".json"))
        score = report(wanted, dict(database.results), equivalent, root)
    if score < GOAL:
        raise click.ClickException(f"{score:.1f} % of the mutants are killed; {GOAL} % should be.")


def _try_all(
    work: list[tuple[Mutant, Judges]],
    database: WorkDB,
    settings: Settings,
    root: Path,
    jobs: int,
    seconds: float,
    kept: Path,
) -> None:
    # One thread a worker: the workers share the processor already.
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    os.environ.update(dict.fromkeys(threads, "1"), TF_CPP_MIN_LOG_LEVEL="2", MPLBACKEND="agg")
    context = multiprocessing.get_context("spawn")
    with copied_trees(root, jobs) as trees:
        queue = context.SimpleQueue()
        for tree in trees:
            queue.put(str(tree))
        with ProcessPoolExecutor(jobs, context, _start_worker, (queue, settings.preload)) as pool:
            trial = Trial(pool, jobs, settings, trees[0], kept)
            trial.clean(list(dict.fromkeys(judges for _, judges in work)))
            trial.run(work, database, seconds)


if __name__ == "__main__":
    main()
