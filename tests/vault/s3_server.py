"""An S3 server as a process of its own on loopback: moto's (https://docs.getmoto.org/en/latest/docs/server_mode.html)."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aggregator.vault.blob_store import S3Blobs

CREDENTIALS = ("an-access-key", "a-secret-access-key")


@dataclass(frozen=True, slots=True)
class S3Server:
    """One that runs, with an empty bucket for every name that is asked for."""

    endpoint: str

    def bucket(self, name: str) -> S3Blobs:
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=x/20261121/us-east-1/s3/aws4_request")
        urllib.request.urlopen(request, timeout=10).close()
        return self.store(name)

    def store(self, name: str, prefix: str = "vaults") -> S3Blobs:
        return S3Blobs(name, prefix, endpoint=self.endpoint, region="us-east-1", credentials=CREDENTIALS)


@contextmanager
def serving() -> Iterator[S3Server]:
    """Started, ready, and stopped at the end."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait(endpoint, process)
        yield S3Server(endpoint)
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


def _wait(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, "the S3 server does not start"
            time.sleep(0.05)
    raise AssertionError("the S3 server does not answer")
