"""`make fuzz`: bytes that nobody thought of, at every parser, until one falls over or the time is over.

    python -m tests.fuzz json --folder FOLDER [libFuzzer's own arguments, such as -runs=1000]

A finding ends the run with its bytes in FOLDER. Atheris exists for some Pythons only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris


def main() -> None:
    """Fuzz one target."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--folder", type=Path, required=True)
    asked, further = parser.parse_known_args()
    with atheris.instrument_imports(include=["aggregator.fhir", "aggregator.api.fhir", "fhir_profiles"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[asked.target]
    corpus = asked.folder / asked.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        corpus.joinpath(f"seed-{number}").write_bytes(seed)

    def once(data: bytes) -> None:
        try:
            target.run(data)
        except target.refuses:
            return

    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={asked.folder}/", *further], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
