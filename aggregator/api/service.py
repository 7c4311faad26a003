"""What the routes work with: every part of one installation, made once at the composition root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.audit.receipts import ReceiptWriter
from aggregator.config import Config
from aggregator.consent.section_table import SectionTable
from aggregator.identity.accounts import Accounts
from aggregator.identity.app_tokens import AppTokens
from aggregator.identity.authorizations import Authorizations
from aggregator.identity.client_registry import Client
from aggregator.identity.clients import Clients
from aggregator.identity.dpop import Proofs
from aggregator.identity.grants import Grants
from aggregator.identity.notices import Notices
from aggregator.identity.openid_sign_in import OpenIdSignIn
from aggregator.identity.owner_writing import OwnerWriting
from aggregator.identity.parties import Parties
from aggregator.identity.signing import Signing
from aggregator.identity.ways_in import WaysIn
from aggregator.sharing.door import Door
from aggregator.sharing.issuers import Issuers
from aggregator.sharing.received import Web
from aggregator.sharing.shares import Shares
from aggregator.sync.connect import Connections
from aggregator.sync.registry import Registry
from aggregator.sync.run import Worker
from aggregator.vault.blob_store import BlobStore
from aggregator.vault.index_rows import Indexer
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One installation."""

    config: Config
    clock: Clock
    store: Store
    blobs: BlobStore
    key_service: KeyService
    worker_keys: WorkerKeys
    table: SectionTable
    indexer: Indexer
    registry: Registry
    registered: Mapping[str, Client]
    parties: Parties
    openid: OpenIdSignIn
    accounts: Accounts
    ways_in: WaysIn
    grants: Grants
    signing: Signing
    writing: OwnerWriting
    clients: Clients
    authorizations: Authorizations
    app_tokens: AppTokens
    proofs: Proofs
    shares: Shares
    door: Door
    issuers: Issuers
    web: Web
    connections: Connections
    worker: Worker
    receipts: ReceiptWriter
    notices: Notices
    base_url: str

    def close(self) -> None:
        """Let go of files and threads."""
        self.receipts.close()
        self.store.close()
        self.key_service.close()
