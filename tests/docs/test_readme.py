"""README.md: its numbers are the measured ones, and it stays short."""

import json
import re
import sys
from pathlib import Path

from alexnet_keras.network.model import AlexNet
from alexnet_keras.network.summary import parameters_of

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs/hooks"))

import readme  # noqa: E402


def test_its_results_are_those_that_were_measured():
    results = json.loads(readme.RESULTS.read_text())
    text = readme.README.read_text()
    assert set(readme.MEASURED) == set(results)
    assert readme.rendered(text, readme.parts_of(results)) == text, "run python docs/hooks/readme.py"
    for result in results.values():
        assert result["command"].startswith("alexnet ") and result["machine"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", result["date"])


def test_a_result_that_changes_changes_the_text():
    results = json.loads(readme.RESULTS.read_text())
    results["photographs"]["minutes"] = 123456
    assert "123456 minutes" in readme.rendered(readme.README.read_text(), readme.parts_of(results))


def test_the_network_has_the_parameters_that_it_names():
    assert json.loads(readme.RESULTS.read_text())["network"]["parameters"] == parameters_of(AlexNet("source"))


def test_its_ratios_are_those_of_the_page_on_performance():
    sentence = r"Training runs at (\S+) times .*? at (\S+) times\s+in bfloat16, inference at (\S+) and (\S+) times "
    said = re.search(sentence, readme.README.read_text(), re.DOTALL)
    performance = (ROOT / "docs/performance.md").read_text()
    measured = re.findall(r"ratio to the strongest \(\S+\): median ([\d.]+)", performance)[:4]
    assert said
    for ratio, exact in zip(said.groups(), measured, strict=True):
        digits = len(ratio.partition(".")[2])
        assert f"{float(exact):.{digits}f}" == ratio


def test_it_is_short_and_every_image_and_page_in_it_is_there():
    text = readme.README.read_text()
    assert len(text.splitlines()) <= 120
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target
