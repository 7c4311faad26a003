"""A bulk data client of its own kind: SMART backend sign-in, kick-off, polling, manifest, download.

https://hl7.org/fhir/uv/bulkdata/STU2/export.html. It knows the specification and nothing of the service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from fhir_profiles.text import Resource, loads

_MOST_POLLS = 50


@dataclass
class BulkClient:
    """http: its connection; sign_in: the Authorization header of a fresh token. progress: what polls were told."""

    http: httpx.Client
    sign_in: Callable[[], dict[str, str]]
    progress: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._token = self.sign_in()

    def kick_off(self, path: str = "Patient/$export", **parameters: str) -> str:
        """The place where its status is asked for."""
        headers = self._token | {"Accept": "application/fhir+json", "Prefer": "respond-async"}
        answer = self.http.get(f"/fhir/{path}", params=parameters, headers=headers)
        assert answer.status_code == 202, answer.text
        return urlsplit(answer.headers["content-location"]).path

    def poll(self, status: str) -> httpx.Response:
        answer = self.http.get(status, headers=self._token | {"Accept": "application/json"})
        if answer.status_code == 202:
            self.progress.append(answer.headers["x-progress"])
            assert answer.headers["retry-after"].isdigit()
        return answer

    def manifest(self, status: str) -> dict[str, Any]:
        """Poll until it is there."""
        for _ in range(_MOST_POLLS):
            answer = self.poll(status)
            if answer.status_code != 202:
                assert answer.status_code == 200, answer.text
                assert answer.headers["content-type"] == "application/json"
                assert "expires" in answer.headers
                told: dict[str, Any] = answer.json()
                assert told.keys() >= {"transactionTime", "request", "requiresAccessToken", "output", "error"}
                assert told["requiresAccessToken"] is True
                return told
        raise AssertionError("the export does not end")

    def download(self, file: dict[str, Any]) -> list[Resource]:
        """The resources of one file of a manifest."""
        headers = self._token | {"Accept": "application/fhir+ndjson"}
        with self.http.stream("GET", urlsplit(file["url"]).path, headers=headers) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/fhir+ndjson"
            found = [loads(line) for line in answer.iter_lines() if line]
        assert {one["resourceType"] for one in found} <= {file["type"]}
        return found

    def everything(self, status: str) -> dict[str, list[Resource]]:
        """All files, by type; each holds what the manifest counted. Then the export is ended."""
        found = {}
        for file in self.manifest(status)["output"]:
            found[file["type"]] = self.download(file)
            assert len(found[file["type"]]) == file["count"]
        assert self.cancel(status) == 202
        return found

    def cancel(self, status: str) -> int:
        return self.http.delete(status, headers=self._token).status_code
