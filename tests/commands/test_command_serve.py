"""`aggregator serve`: it answers, stops cleanly, and names a port in use."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from tests.commands.running import PROJECT, Run


def test_serve_answers_and_stops_cleanly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "config.toml").write_text(f"[http]\nport = {port}")
    command = [sys.executable, "-m", "aggregator", "--config", tmp_path / "config.toml", "serve"]
    with subprocess.Popen(command, env={"PYTHONPATH": str(PROJECT)}, stderr=subprocess.PIPE) as up:
        try:
            assert up.stderr is not None
            assert b"serving at" in up.stderr.readline()
            with httpx.Client(transport=httpx.HTTPTransport(retries=5), trust_env=False) as client:
                assert client.get(f"http://127.0.0.1:{port}/healthz").text == "ok\n"
        finally:
            up.send_signal(signal.SIGTERM)
        _, err = up.communicate(timeout=30)
    assert (up.returncode, err) == (0, b"")


def test_a_port_in_use_is_told_with_what_changes_it(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("demo", "--home", tmp_path / "home", "--once", "--port", port)
        assert (ended.code, "--port" in ended.err) == (1, True)
        (tmp_path / "config.toml").write_text(f"[http]\nport = {port}")
        ended = run("--config", tmp_path / "config.toml", "serve")
        assert (ended.code, "http.port" in ended.err) == (1, True)
