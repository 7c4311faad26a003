"""The tables of the first release. Made by `make migration`: change the models, never this file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_4c992bc6c172"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "access_request",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("requester", sa.LargeBinary(), nullable=False),
        sa.Column("about", sa.LargeBinary(), nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "id"),
    )
    op.create_index(op.f("ix_access_request_about"), "access_request", ["about"], unique=False)
    op.create_index(op.f("ix_access_request_requester"), "access_request", ["requester"], unique=False)
    op.create_table(
        "access_token",
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("row", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.Integer(), nullable=False),
        sa.Column("family", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index(op.f("ix_access_token_family"), "access_token", ["family"], unique=False)
    op.create_table(
        "account",
        sa.Column("login", sa.LargeBinary(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("free_from", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("login"),
    )
    op.create_index(op.f("ix_account_vault"), "account", ["vault"], unique=False)
    op.create_table(
        "activation",
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.Column("feed", sa.LargeBinary(), nullable=False),
        sa.Column("person", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("code"),
    )
    op.create_table(
        "allowance",
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("handle"),
    )
    op.create_index(op.f("ix_allowance_until"), "allowance", ["until"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("login", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("login"),
    )
    op.create_index(op.f("ix_attempts_next_at"), "attempts", ["next_at"], unique=False)
    op.create_table(
        "audit_key",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("vouched", sa.LargeBinary(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "blob",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "id"),
    )
    op.create_index(op.f("ix_blob_id"), "blob", ["id"], unique=False)
    op.create_table(
        "bulk_export",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("reader", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_bulk_export_expires"), "bulk_export", ["expires"], unique=False)
    op.create_index(op.f("ix_bulk_export_reader"), "bulk_export", ["reader"], unique=False)
    op.create_table(
        "bulk_export_record",
        sa.Column("export", sa.LargeBinary(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("export", "vault"),
    )
    op.create_index(op.f("ix_bulk_export_record_vault"), "bulk_export_record", ["vault"], unique=False)
    op.create_table(
        "closed_receipts",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("chain", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "chain", "part"),
    )
    op.create_table(
        "connection",
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_success", sa.Float(), nullable=True),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("lease", sa.String(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("mandate", sa.String(), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=False),
        sa.Column("settings", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.Column("verification", sa.LargeBinary(), nullable=True),
        sa.Column("is_feed", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_connection_vault"), "connection", ["vault"], unique=False)
    op.create_table(
        "ended_grantee",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("grantee", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "grantee"),
    )
    op.create_table(
        "erasure",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("ordered_by", sa.String(), nullable=False),
        sa.Column("begun", sa.BigInteger(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault"),
    )
    op.create_table(
        "feed",
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_success", sa.Float(), nullable=True),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("lease", sa.String(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "grant",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("grantee", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "id"),
    )
    op.create_index(op.f("ix_grant_grantee"), "grant", ["grantee"], unique=False)
    op.create_table(
        "grant_archive",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "version"),
    )
    op.create_table(
        "grant_intent",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("grant", sa.String(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "grant"),
    )
    op.create_table(
        "handed_out",
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("family", sa.LargeBinary(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index(op.f("ix_handed_out_expires"), "handed_out", ["expires"], unique=False)
    op.create_index(op.f("ix_handed_out_family"), "handed_out", ["family"], unique=False)
    op.create_table(
        "hold",
        sa.Column("feed", sa.LargeBinary(), nullable=False),
        sa.Column("tag", sa.LargeBinary(), nullable=False),
        sa.Column("item", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "tag", "item"),
    )
    op.create_index(op.f("ix_hold_expires"), "hold", ["expires"], unique=False)
    op.create_table(
        "image",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("built_for", sa.String(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "reader"),
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key_ring", sa.String(), nullable=False),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "invitation",
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("code"),
    )
    op.create_table(
        "ledger",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "source"),
    )
    op.create_table(
        "log",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "position"),
    )
    op.create_table(
        "mandate",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("grantee", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "id"),
    )
    op.create_index(op.f("ix_mandate_grantee"), "mandate", ["grantee"], unique=False)
    op.create_table(
        "notice",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("what", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.Boolean(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "what"),
    )
    op.create_table(
        "openid_link",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_index(op.f("ix_openid_link_vault"), "openid_link", ["vault"], unique=False)
    op.create_table(
        "owner_session",
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("unlocker", sa.String(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("unlocked_at", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index(op.f("ix_owner_session_vault"), "owner_session", ["vault"], unique=False)
    op.create_table(
        "passkey",
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("unlocker", sa.String(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("credential"),
    )
    op.create_table(
        "quarantine",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=False),
        sa.Column("item", sa.String(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("owner", "source", "item"),
    )
    op.create_table(
        "receipt",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("opening", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "position"),
    )
    op.create_table(
        "registered_client",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.String(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_registered_client_state"), "registered_client", ["state"], unique=False)
    op.create_table(
        "route",
        sa.Column("feed", sa.LargeBinary(), nullable=False),
        sa.Column("tag", sa.LargeBinary(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "tag", "connection"),
    )
    op.create_index(op.f("ix_route_connection"), "route", ["connection"], unique=False)
    op.create_table(
        "section_keys",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.Column("earlier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "epoch"),
    )
    op.create_table(
        "share",
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("grant", sa.String(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.Column("gate", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("spent", sa.Boolean(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("handle"),
    )
    op.create_index(op.f("ix_share_expires"), "share", ["expires"], unique=False)
    op.create_index(op.f("ix_share_vault"), "share", ["vault"], unique=False)
    op.create_table(
        "share_ticket",
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("share", sa.LargeBinary(), nullable=False),
        sa.Column("row", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index(op.f("ix_share_ticket_expires"), "share_ticket", ["expires"], unique=False)
    op.create_index(op.f("ix_share_ticket_vault"), "share_ticket", ["vault"], unique=False)
    op.create_table(
        "signed_head",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("leaf", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("key_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "position"),
    )
    op.create_table(
        "snapshot",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault"),
    )
    op.create_table(
        "snapshot_section",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("section", sa.String(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "section", "part"),
    )
    op.create_table(
        "unlocker",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.String(), nullable=False),
        sa.Column("label", sa.LargeBinary(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.Column("proof", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("vault", "id"),
    )
    op.create_table(
        "used_assertion",
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("handle"),
    )
    op.create_index(op.f("ix_used_assertion_expires"), "used_assertion", ["expires"], unique=False)
    op.create_table(
        "vault",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("verification_key", sa.LargeBinary(), nullable=False),
        sa.Column("audit_key", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("sections", sa.LargeBinary(), nullable=False),
        sa.Column("inherited", sa.LargeBinary(), nullable=False),
        sa.Column("log_position", sa.Integer(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("grant_version", sa.Integer(), nullable=False),
        sa.Column("grant_mark", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("epochs", sa.LargeBinary(), nullable=False),
        sa.Column("epochs_signature", sa.LargeBinary(), nullable=False),
        sa.Column("audit_position", sa.Integer(), nullable=False),
        sa.Column("audit_head", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "wrongcodes",
        sa.Column("vault", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("vault"),
    )
