"""Bundles from outside, through the whole demo: every entry is in its patient's vault."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.demo.demo_runs import run

DATA = (
    Path(os.environ.get("AGGREGATOR_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "fhir-synthea"
)
_MOST = 2  # patients of each folder: each costs a sign-up


@pytest.mark.outside
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA.name} of the test data is not there")
@pytest.mark.parametrize("name", ["smart-generated-sample-data-r4", "samply-blaze-r4"])
def test_every_entry_is_stored_and_open_to_the_first_provider(name: str, tmp_path: Path) -> None:
    files = sorted((DATA / name).glob("*.json"))
    information = [file for file in files if "Information" in file.name]
    patients = [file for file in files if file not in information][:_MOST]
    (tmp_path / "data").mkdir()
    for file in (*information, *patients):
        shutil.copy(file, tmp_path / "data")
    told = run(tmp_path / "home", tmp_path / "data").told
    entries = told["data"]["entries"]
    assert entries > 100
    assert told["data"] == {
        "bundles": _MOST,
        "entries": entries,
        "stored": entries,
        "quarantined": 0,
        "missing": 0,
    }
    of_folder = {patient["id"] for patient in told["patients"][-_MOST:]}
    assert [row["withheld"] for row in told["providers"] if row["patient"] in of_folder] == [0] * _MOST
