"""Writes world/once.json anew, after a story has changed: python -m tests.demo.renew_once"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.demo.demo_runs import run
from tests.demo.test_world import ONCE, comparable

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        told = comparable(run(Path(folder) / "home"))
    ONCE.parent.mkdir(exist_ok=True)
    ONCE.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
