"""docs/paper.md and modern.md: their results are those of docs/evidence/."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs/hooks"))

import paper  # noqa: E402
import readme  # noqa: E402

from alexnet_keras.storage.kept import made_from  # noqa: E402


def test_results_are_those_that_were_measured():
    parts, texts = paper.parts(), [page.read_text() for page in paper.PAGES]
    assert parts
    for text in texts:
        assert readme.rendered(text, parts) == text, "run python docs/hooks/paper.py"
    for name in parts:
        assert sum(f"<!-- {name} -->" in text for text in texts) == 1, name


def test_a_result_that_changes_changes_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "EVIDENCE", tmp_path)
    folder = ROOT / "docs/evidence/modern-photos"
    paper.take(folder)
    file = tmp_path / folder.name / paper.RESULT
    document = json.loads(file.read_text())
    document["findings"][0]["ours"]["values"] = [0.98765]
    file.write_text(json.dumps(document))
    texts = [readme.rendered(page.read_text(), paper.parts()) for page in paper.PAGES]
    assert ["98.8 %" in text for text in texts] == [False, True]


def test_evidence_holds_no_place_of_the_machine_that_measured_it():
    files = [file for file in (ROOT / "docs/evidence").rglob("*") if file.is_file()]
    assert files
    for file in files:
        text = json.dumps(made_from(file)) if file.suffix == ".npz" else file.read_text()
        assert not re.search(r'"/(?!CPU)\w|/home/|/tmp/|/root/|Users', text), file
