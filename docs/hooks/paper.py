"""Puts the results of docs/evidence/ into the marked parts of paper.md and modern.md: `python docs/hooks/paper.py`.

    python docs/hooks/paper.py saved_models/reproductions/ablations-photos ...

first takes the results of these experiments, and what they are made of, into docs/evidence/. A copy of a folder of
docs/evidence/ in saved_models/reproductions/ can be continued there, by the same command with more seeds or variants.
"""

import json
import shutil
import sys
from pathlib import Path

from readme import rendered

from alexnet_keras.experiments.results import RESULT, Result, read_result, table

DOCS = Path(__file__).parents[1]
PAGES, EVIDENCE = (DOCS / "paper.md", DOCS / "modern.md"), DOCS / "evidence"


def take(folder: Path) -> None:
    """Copy an experiment's result, its parts and histories; no photographs, no network, and no name of the system."""
    copy = EVIDENCE / folder.name
    copy.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("parts/*"):
        (copy / "parts").mkdir(exist_ok=True)
        shutil.copyfile(file, copy / "parts" / file.name)
    document = json.loads((folder / RESULT).read_text())
    for net in document["facts"].get("nets", ()):
        shutil.copyfile(folder.parent / "nets" / net / "history.csv", copy / f"history-{net}.csv")
    document["machine"].pop("platform", None)
    (copy / RESULT).write_text(json.dumps(document, indent=1) + "\n")


def part(result: Result) -> str:
    """The part of a page that says what a result is, and where it comes from."""
    document = result.document
    *_, last = document["configuration"]
    source = f"`{document['command']}`, {document['date'][:10]}, {result.machine}; {last}."
    return "\n".join([document["summary"], "", *table(result), "", source])


def parts() -> dict[str, str]:
    """The parts of the pages by name: table-1-photos."""
    return {file.parent.name: part(read_result(file.parent)) for file in sorted(EVIDENCE.glob(f"*/{RESULT}"))}


def main(folders: list[str]) -> None:
    """Take results, and write the pages."""
    for folder in folders:
        take(Path(folder))
    for page in PAGES:
        page.write_text(rendered(page.read_text(), parts()))


if __name__ == "__main__":
    main(sys.argv[1:])
