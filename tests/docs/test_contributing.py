"""The new feature of `CONTRIBUTING.md` can be added as it says."""

import re
import runpy
from pathlib import Path

import pytest

from ibook import features
from ibook.declarations import EntityFeatures, Feature
from ibook.features import ENTITY_FEATURES, FEATURES
from tests.docs.generated import ROOT
from tests.docs.snippets import named_blocks

PAGE = ROOT / "CONTRIBUTING.md"


def diff() -> list[str]:
    [text] = re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(text).splitlines()


def test_diff_fits_the_file_it_changes() -> None:
    context = "\n".join(line[1:] for line in diff() if line.startswith(" "))
    assert context in (ROOT / "ibook" / "features.py").read_text()


def test_test_of_the_new_feature_passes_with_the_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = "\n".join(line[1:] for line in diff() if line.startswith("+")).strip().rstrip(",")
    feature: Feature = eval(added, vars(features))
    assert feature.name not in {each.name for each in FEATURES}
    entity = next(name for name in ENTITY_FEATURES if name == feature.entity)
    monkeypatch.setitem(ENTITY_FEATURES, entity, EntityFeatures(entity, (*FEATURES, feature)))
    script = tmp_path / "test_user_holds.py"
    script.write_text(named_blocks(PAGE)[script.name])
    tests = [test for name, test in runpy.run_path(str(script)).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()
