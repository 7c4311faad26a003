"""The composition root: from settings to a running installation."""

from __future__ import annotations

from contextlib import ExitStack

import httpx
from sqlmodel import Session

from aggregator import migrations
from aggregator.api.service import Service
from aggregator.audit import chain
from aggregator.audit import keys as audit_keys
from aggregator.audit.chain import first_head
from aggregator.audit.receipts import SYSTEM, ReceiptWriter
from aggregator.config import Config
from aggregator.consent.section_table import SectionTable
from aggregator.errors import KeysMissing, OperatorError, RolledBack
from aggregator.fhir.index import SearchIndex
from aggregator.identity import directory
from aggregator.identity.accounts import Accounts
from aggregator.identity.app_tokens import AppTokens
from aggregator.identity.authorizations import Authorizations
from aggregator.identity.client_registry import ClientRegistry, register
from aggregator.identity.clients import Clients
from aggregator.identity.dpop import Proofs
from aggregator.identity.grants import Grants
from aggregator.identity.handed_out import Desk
from aggregator.identity.id_tokens import IdTokens
from aggregator.identity.notices import Notices
from aggregator.identity.openid_provider import Provider
from aggregator.identity.openid_sign_in import OpenIdSignIn
from aggregator.identity.owner_writing import OwnerWriting
from aggregator.identity.parties import Parties
from aggregator.identity.passkeys import Passkeys
from aggregator.identity.registrations import Registrations
from aggregator.identity.signing import Signing
from aggregator.identity.ways_in import WaysIn
from aggregator.portability.erase import finish_erasures
from aggregator.portability.export import Place
from aggregator.sharing import issuers
from aggregator.sharing.door import Door
from aggregator.sharing.shares import Shares
from aggregator.sync.connect import Connections
from aggregator.sync.registry import Registry
from aggregator.sync.run import Worker
from aggregator.vault import epochs, grant_version, snapshot
from aggregator.vault.blob_store import BlobStore, open_blobs
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.log import first_link
from aggregator.vault.master_key import MasterKey
from aggregator.vault.seal import FORMAT
from aggregator.vault.store import Store
from aggregator.vault.tables import Installation, Vault
from aggregator.vault.token_key import TokenKey
from connectors.contract import Clock, utc_now
from connectors.fetch import Fetcher


def open_service(
    config: Config, clock: Clock = utc_now, *, client: type[httpx.AsyncClient] = httpx.AsyncClient
) -> Service:
    """Open the store and the key ring that belongs to it; both are made where neither is. Raises OperatorError."""
    with ExitStack() as opened:  # what was opened is closed again where the rest of the settings is wrong
        store = Store.of(config.store)
        opened.callback(store.close)
        ring = _key_ring(config, store.exists())
        opened.callback(ring.close)
        store.create()
        store.follow(
            ring,
            snapshot.extends(ring.verification_key),
            chain.extends,
            epochs.extends(ring.verification_key),
            grant_version.extends(ring.handle),
        )
        with store.write() as session:
            _bind(session, ring)
        audit_keys.settle(store, ring)
        service = _compose(config, clock, store, ring, open_blobs(config.blobs), client)
        opened.pop_all()
    return service


def _key_ring(config: Config, store_exists: bool) -> KeyRing:
    """A store without its key ring is never given a new one: that would only hide the loss."""
    folder = config.keys.folder
    if (folder / "ring.db").exists():
        return KeyRing(folder, config.keys.destroyed_list, master_key(config))
    if store_exists:
        raise KeysMissing(
            f"keys.folder: {folder} holds no key ring, but {config.store.place} belongs to one. Restore the key ring "
            "from its backup with: aggregator restore --keys-from FOLDER; or set keys.folder. Without it nothing in "
            "the store can be opened"
        )
    return KeyRing.create(folder, config.keys.destroyed_list, master_key(config))


def master_key(config: Config) -> MasterKey | None:
    """The token's, where one is configured; else the ring's own file."""
    return TokenKey(config.keys.pkcs11) if config.keys.pkcs11.module else None


def _bind(session: Session, ring: KeyRing) -> None:
    row = session.get(Installation, 1)
    if row is None:
        if ring.remembered([SYSTEM]):  # an empty database in the place of one that this ring belongs to
            raise RolledBack
        generation = ring.counter_generation()
        session.add(Installation(id=1, key_ring=ring.ring, format=FORMAT, generation=generation))
        session.add(_system_chain(ring))
    elif row.key_ring != ring.ring:
        raise KeysMissing(
            "keys.folder: this key ring belongs to another store; set keys.folder to the one that was made with it"
        )
    elif row.format < FORMAT:  # the very first one has no revision of the tables, and is refused there
        raise migrations.never_released("it", row.format)
    elif row.format > FORMAT:
        raise OperatorError(
            f"store: it has format {row.format}, this version reads {FORMAT}; use the version that wrote it"
        )
    elif row.generation != ring.counter_generation():
        raise RolledBack(
            "the database and the key ring are not of the same restore: one of them was put back by hand, or a restore "
            "was interrupted; restore both with: aggregator restore"
        )
    else:
        ring.restored()  # whatever restore filled this store, its commit is durable


def _system_chain(ring: KeyRing) -> Vault:
    """The chain of refusals about vaults that do not exist has a head like every other."""
    return Vault(
        id=SYSTEM,
        verification_key=ring.audit_verification_key(),
        audit_key=ring.system_audit().public().raw,
        certificate=b"",
        sections=b"",
        chain=first_link(SYSTEM),
        audit_head=first_head(SYSTEM),
    )


def _compose(
    config: Config, clock: Clock, store: Store, ring: KeyRing, blobs: BlobStore, client: type[httpx.AsyncClient]
) -> Service:
    keys = ring.worker_keys()
    table, registry = SectionTable.load(), Registry(config.sources)
    web = Fetcher(loopback=config.http.fetch_loopback)
    fetch = web.get
    registrations = Registrations(store, ring, clock, config.parties.most_pending)
    registered = ClientRegistry(register(config.clients, fetch, clock), registrations, fetch, clock)
    parties = Parties(registered, registrations, directory.read(config.parties.directory_files), fetch, clock)
    providers = {name: Provider(name, one, web, clock) for name, one in config.openid.items()}
    session = config.session
    base_url = (config.http.base_url or f"http://{config.http.host}:{config.http.port}").rstrip("/")
    accounts = Accounts(
        store, ring, clock, session.owner_minutes * 60, session.signing_minutes * 60, config.sign_up.who
    )
    grants = Grants(store, ring, accounts, parties, clock)
    signing, desk = Signing(store, accounts, grants, clock), Desk(ring, clock)
    grants.finish_revocations()
    worker = Worker(
        store=store,
        keys=keys,
        key_service=ring,
        registry=registry,
        table=table,
        clock=clock,
        client=client,
        blobs=blobs,
        lease_seconds=config.sync.lease_minutes * 60,
        longest_backoff=config.sync.longest_backoff_hours * 3600,
        hold_seconds=config.sync.hold_days * 86400,
    )
    receipts = ReceiptWriter(store, ring)
    place = Place(store=store, blobs=blobs, key_service=ring, receipts=receipts, clock=clock)
    finish_erasures(place, config.keys.backup_retention_days)
    indexer = SearchIndex(f"{base_url}/fhir")
    shares = Shares(
        store=store,
        key_service=ring,
        accounts=accounts,
        grants=grants,
        table=table,
        indexer=indexer,
        clock=clock,
        base_url=base_url,
    )
    return Service(
        config=config,
        clock=clock,
        store=store,
        blobs=blobs,
        key_service=ring,
        worker_keys=keys,
        table=table,
        indexer=indexer,
        registry=registry,
        registered=registered,
        parties=parties,
        accounts=accounts,
        ways_in=WaysIn(store, ring, accounts, Passkeys(store, ring, clock, base_url), clock),
        grants=grants,
        signing=signing,
        writing=OwnerWriting(store, blobs, table, clock),
        clients=Clients(store, ring, registered, clock, session.client_token_minutes * 60),
        authorizations=Authorizations(store, desk, registered, parties, accounts, signing, clock, base_url),
        app_tokens=AppTokens(store, ring, desk, registered, IdTokens(ring, clock, base_url), clock),
        proofs=Proofs(store, ring, clock),
        openid=OpenIdSignIn(store, ring, desk, accounts, providers, clock, base_url),
        shares=shares,
        door=Door(store, ring, shares, clock),
        issuers=issuers.Issuers(issuers.trusted(config.cards.issuers), fetch),
        web=web,
        connections=Connections(worker),
        worker=worker,
        receipts=receipts,
        notices=Notices(store, ring, clock),
        base_url=base_url,
    )
