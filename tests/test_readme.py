"""README stays true: its commands exist, its curl lines work as printed, its Consent is one that can be signed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.config import Config
from aggregator.consent.decide import parse
from fhir_profiles.check import check
from fhir_profiles.text import loads

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which `make demo` runs, as far as README's reader can tell."""
    folder = tmp_path_factory.mktemp("reader")
    folder.joinpath(".venv").symlink_to(sys.prefix)
    command = [sys.executable, "-m", "aggregator", "demo", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not folder.joinpath("demo.json").exists() and process.poll() is None:
                time.sleep(0.1)
            yield folder
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@pytest.mark.skipif(shutil.which("curl") is None, reason="README's lines use curl, which is not on this machine")
def test_the_curl_lines_work_as_printed(demo: Path) -> None:
    script = "\n".join(block for block in _blocks("sh") if "curl" in block)
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=demo,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers = list(_answers(done.stdout))
    *answers, manifest = answers[: -(lines := sum(one.get("resourceType") == "Observation" for one in answers))]
    assert [answer.get("resourceType") for answer in answers] == [
        "Bundle",
        "Bundle",
        "Bundle",
        "Bundle",
        None,
        "Bundle",
        "Bundle",
        "Bundle",
    ]
    assert all(answer.get("entry") or answer.get("connections") for answer in answers)
    assert {"type": "Observation", "count": lines} in [
        {name: file[name] for name in ("type", "count")} for file in manifest["output"]
    ]


def _answers(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    while text := text.lstrip():  # lines of an export end as lines do, other answers do not
        found, end = decoder.raw_decode(text)
        text = text[end:]
        yield found


def test_the_consent_can_be_signed() -> None:
    (block,) = _blocks("json")
    consent = loads(block.replace("<client_id>", "labor-c"))
    assert check(consent | {"patient": {"reference": "Patient/x"}}) == ()
    assert parse(consent).problems == ()


def test_the_settings_are_right_ones() -> None:
    config = Config(**tomllib.loads("\n".join(_blocks("toml"))))
    assert config.store.url.startswith("postgresql+psycopg://")
    assert config.sources["klinik-nord"].connector == "clinic_fhir"


def test_every_file_it_points_to_is_there() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_command_it_names_is_there() -> None:
    named = set(re.findall(r"\.venv/bin/aggregator ([a-z]+)", README))
    told = subprocess.run(
        [sys.executable, "-m", "aggregator", "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert named
    assert [command for command in named if command not in told] == []
