"""A bulk export over HTTP, as a client makes it: how fast its lines come, and what the server's memory grows by."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.bench.figure import Figure, timed
from tests.bench.http_figures import served
from tests.bench.installation import Installation


def exporting(installation: Installation, number: int) -> Iterator[Figure]:
    """Every file once. The view is open before: what grows is what streaming takes, and what it unpacks of the view."""
    with served("service", installation.folder) as server:
        headers = {"Authorization": f"Bearer {installation.sign_in()}", "Prefer": "respond-async"}
        headers |= {"Accept-Encoding": "identity"}  # what is measured is lines
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=600.0) as client:
            files = _manifest(client)
            before = _reset_peak(server.process)
            seconds, size = timed(lambda: sum(_size(client, file) for file in files))
            grown = _memory(server.process, "VmHWM") - before
    name = f"bulk $export of {number} over HTTP"
    yield Figure(name=name, value=size / seconds / 1e6, unit="MB/s", better="higher")
    yield Figure(name=f"{name}: memory grows by", value=grown / 1e6, unit="MB", better="lower", reference=size / 1e6)


def _manifest(client: httpx.Client) -> list[str]:
    """The paths of an export's files, once it is ready."""
    place = client.get("/fhir/Patient/$export").raise_for_status().headers["content-location"]
    while (answer := client.get(_path(place)).raise_for_status()).status_code == httpx.codes.ACCEPTED:
        time.sleep(0.1)
    return [_path(one["url"]) for one in answer.json()["output"]]


def _path(url: str) -> str:
    return httpx.URL(url).raw_path.decode()


def _size(client: httpx.Client, file: str) -> int:
    with client.stream("GET", file) as answer:
        return sum(map(len, answer.raise_for_status().iter_raw()))


def _reset_peak(process: int) -> int:
    """From now on the peak is counted anew: https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html."""
    Path(f"/proc/{process}/clear_refs").write_text("5")
    return _memory(process, "VmRSS")


def _memory(process: int, name: str) -> int:
    """Bytes, as /proc/PID/status tells them."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
