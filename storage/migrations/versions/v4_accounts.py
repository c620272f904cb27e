"""Version 4: users, tokens, sessions, attempts to sign in, and the audit of the service.

Creates what is missing, so that it can be repeated where a statement commits.
"""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"

_metadata = sa.MetaData()

_new_tables = [
    sa.Table(
        "tuner_users",
        _metadata,
        sa.Column("user_id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Index("ix_tuner_users_name", "name", unique=True),
    ),
    sa.Table(
        "tuner_tokens",
        _metadata,
        sa.Column("token_id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.Index("ix_tuner_tokens_digest", "digest", unique=True),
    ),
    sa.Table(
        "tuner_sessions",
        _metadata,
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column(
            "user_id", sa.ForeignKey("tuner_users.user_id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Index("ix_tuner_sessions_user_id", "user_id"),
    ),
    sa.Table(
        "tuner_logins",
        _metadata,
        sa.Column("subject", sa.String(128), primary_key=True),
        sa.Column("n_failed", sa.Integer, nullable=False),
        sa.Column("tried_at", sa.Double, nullable=False),
        sa.Column("ready_at", sa.Double, nullable=False),
    ),
    sa.Table(
        "tuner_audit",
        _metadata,
        sa.Column("audit_id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("action", sa.String(255), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Index("ix_tuner_audit_at", "at"),
    ),
]


def upgrade() -> None:
    """Create each table and index that is not there."""
    connection = op.get_bind()
    for table in _new_tables:
        table.create(connection, checkfirst=True)
        for index in table.indexes:
            index.create(connection, checkfirst=True)
