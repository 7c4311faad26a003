"""PostgreSQL's URL: no password in it, no network in the clear, nothing that loosens durability."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aggregator.config import load
from aggregator.database_url import problem, with_password
from aggregator.errors import OperatorError

SOUND = "postgresql+psycopg://aggregator@localhost/aggregator"


@pytest.mark.parametrize(
    "url",
    [
        SOUND,
        "postgresql+psycopg://aggregator@127.0.0.1:5433/aggregator",
        "postgresql+psycopg://aggregator@[::1]/aggregator",
        "postgresql+psycopg://aggregator@/aggregator?host=/var/run/postgresql",
        "postgresql+psycopg://aggregator@db.example/aggregator?sslmode=verify-full",
        "postgresql+psycopg://aggregator@db.example/aggregator?sslmode=verify-ca&sslrootcert=/etc/ca.pem",
        "postgresql+psycopg://aggregator@/aggregator?host=a.example:1&host=b.example:2&sslmode=verify-full",
    ],
)
def test_a_sound_url_is_taken(url: str) -> None:
    assert problem(url) == ""


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("not a url", "this is no database URL; write it like"),
        ("sqlite:///a.db", "for SQLite leave it empty and set store.path"),
        ("postgresql://localhost/a", "must begin with postgresql+psycopg://"),
        ("postgresql+psycopg://a:hunter2@localhost/a", "store.password_file"),
        ("postgresql+psycopg://a@localhost/a?password=hunter2", "store.password_file"),
        ("postgresql+psycopg://a@localhost/a?options=-cfsync%3Doff", "the parameter options is not taken"),
        ("postgresql+psycopg://a@localhost", "names no database"),
        ("postgresql+psycopg://a@/a", "names no host"),
        ("postgresql+psycopg://a@db.example/a", "add ?sslmode=verify-full"),
        ("postgresql+psycopg://a@db.example/a?sslmode=require", "add ?sslmode=verify-full"),
        ("postgresql+psycopg://a@10.0.0.4/a", "add ?sslmode=verify-full"),
        ("postgresql+psycopg://a@localhost/a?host=db.example", "add ?sslmode=verify-full"),
        ("postgresql+psycopg://a@/a?host=/run/pg,db.example", "add ?sslmode=verify-full"),
    ],
)
def test_a_wrong_url_stops_the_start_with_what_would_be_right(tmp_path: Path, url: str, told: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[store]\nurl = "{url}"\n')
    with pytest.raises(OperatorError, match=re.escape(told)) as raised:
        load(file)
    assert "store.url: " in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_the_password_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    secret, file = tmp_path / "secret", tmp_path / "config.toml"
    secret.write_text("hunter2 # with: odd@signs\n")
    secret.chmod(0o600)
    file.write_text(f'[store]\nurl = "{SOUND}"\npassword_file = "secret"\n')
    store = load(file).store
    assert store.database_url().password == "hunter2 # with: odd@signs"
    assert store.place == SOUND


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [("hunter2", 0o640, "others may read .*; run chmod 600"), ("\nhunter2", 0o600, "is empty"), (None, 0, "be read")],
)
def test_a_password_file_that_is_missing_empty_or_open_to_others_is_refused(
    tmp_path: Path, content: str | None, mode: int, told: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(OperatorError, match=rf"^store\.password_file: .*{told}"):
        with_password(SOUND, file)


def test_without_a_password_file_libpq_looks_where_it_does() -> None:
    assert with_password(SOUND, None).password is None
