"""Each parser withstands bytes that nobody thought of: a short run here, a long one by `make fuzz`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("AGGREGATOR_FUZZ", "2")) * 1000
without_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python"
)


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_run_begins_with_is_taken_or_refused(name: str) -> None:
    for seed in (*TARGETS[name].seeds, b"", b"\0", b"\xff" * 9, b"[" * 2000):
        try:
            TARGETS[name].run(seed)
        except TARGETS[name].refuses:
            continue


@without_atheris
@pytest.mark.timeout(3600)
@pytest.mark.attack(46)
@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_make_a_parser_fall_over(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", name, "--folder", str(tmp_path), f"-runs={RUNS}", "-timeout=60"]
    seed = [] if "AGGREGATOR_FUZZ" in os.environ else ["-seed=1"]
    done = subprocess.run([*command, *seed], cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {RUNS} runs" in done.stderr
