"""connectors/README.md: the connector printed there is written out as it stands, and passes."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from connectors import conformance
from connectors.conformance import Case

_README = Path(__file__).parents[2] / "connectors" / "README.md"
_FILE = re.compile(r"^`(?P<path>[\w./]+)`:\n\n```\w+\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for match in _FILE.finditer(_README.read_text("utf-8")):
        path = tmp_path / match["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match["content"], "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_printed_connector_passes_its_printed_test(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("printed_test", written / "test_patient_scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    suite = module.TestPatientScale()
    case = Case.read(written / "patient_scale" / "recorded" / "two_weights")
    monkeypatch.setenv("CONFORMANCE_WRITE", "1")
    suite.test_the_whole_outcome_is_the_expected_one(case)
    monkeypatch.delenv("CONFORMANCE_WRITE")
    for name in (name for name in dir(conformance.Suite) if name.startswith("test_")):
        test = getattr(suite, name)
        test(case) if "case" in test.__annotations__ else test()
    assert '"value": 72.50' in case.expected.read_text("utf-8")
    assert '"reason": "unknown-code"' in case.expected.read_text("utf-8")
    del sys.modules["patient_scale"]
