"""The settings of one patient's account at a FHIR server. A vendor is a row of them: what differs is data, not code."""

from __future__ import annotations

from typing import Annotated

import httpx
from pydantic import AfterValidator, Field, FilePath, SecretStr, model_validator

from connectors.contract import Settings
from connectors.http import LOOPBACK
from connectors.patient_compartment import DIRECTORY, PATIENT_PARAMETER


def _https(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError("is no address") from None
    if parts.userinfo or parts.query or parts.fragment:
        raise ValueError("must be an address without user name, query and fragment")
    if not parts.host or not (parts.scheme == "https" or (parts.scheme == "http" and parts.host in LOOPBACK)):
        raise ValueError("must begin with https:// (http:// on this machine alone)")
    return url


def _header_value(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError("must be printable ASCII and not empty")
    return secret


def _known_types(types: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in types if name not in PATIENT_PARAMETER and name not in DIRECTORY]
    if unknown:
        raise ValueError(f"holds types that cannot be pulled: {', '.join(unknown)}")
    return types


Url = Annotated[str, AfterValidator(_https)]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]
ResourceTypes = Annotated[tuple[str, ...], AfterValidator(_known_types)]


class FhirAccountSettings(Settings):
    """What a FHIR account needs. patient_id and bearer_token are the patient's; the rest describes the server.

    base_url: the service base, as the server names itself. headers: sent with every request; `Accept` here chooses
        JSON or XML. patient_parameters: type -> search parameter, where the server departs from R4.
    resource_types: of the Patient compartment and the directory; the Patient always comes.
    full_listing_every: every how many runs a server without `_history` is listed in full, to see what is gone.
    client_id, private_key_file: sign in as a SMART backend service; scope and token_url belong to it.
    """

    base_url: Url
    headers: dict[str, HeaderValue] = Field(default_factory=dict)
    page_size: int = Field(default=100, ge=1, le=1000)
    patient_parameters: dict[str, str] = Field(default_factory=dict)
    resource_types: ResourceTypes = (*PATIENT_PARAMETER, *DIRECTORY)
    full_listing_every: int = Field(default=24, ge=1)
    overlap_minutes: int = Field(default=10, ge=0, le=24 * 60)
    client_id: str | None = None
    private_key_file: FilePath | None = None
    scope: str = "system/*.rs"
    token_url: Url | None = None
    patient_id: str = Field(pattern=r"^[A-Za-z0-9\-.]{1,64}$")
    bearer_token: HeaderValue | None = None

    @model_validator(mode="after")
    def _signs_in_wholly(self) -> FhirAccountSettings:
        if (self.client_id is None) != (self.private_key_file is None):
            raise ValueError("client_id and private_key_file are given together or not at all")
        return self
