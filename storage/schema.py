"""Our own tables, beside Optuna's: how much a study may spend, who works on it, what came of it;
and who may use the service.

Queries are made from this; ``storage.migrations`` creates the tables, and a test compares the two.
Moments are seconds since 1970 by the database's clock (see ``storage.clock``): workers' own
clocks differ. Optuna's tables are left as they are, but for ``storage.names``.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

# Optuna's, named here only so that a foreign key can point to it; created by Optuna.
_studies = Table("studies", metadata, Column("study_id", Integer, primary_key=True))

# A study's budget. `n_claimed` counts the slots that are finished or in training, so that
# claiming one is a single guarded update, however many trials there are.
budgets = Table(
    "tuner_budgets",
    metadata,
    Column(
        "study_id",
        ForeignKey(_studies.c.study_id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("n_trials", Integer, nullable=False),
    Column("n_claimed", Integer, nullable=False, default=0),
    Column("deadline", Double),
    Column("state", String(16), nullable=False, server_default="open"),  # open, paused, stopped
    # How often a trial is run again after its worker died.
    Column("max_retries", Integer, nullable=False, server_default="2"),
    # Of the open studies, workers that serve all of them take the highest first.
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("created_at", Double),  # null for studies of version 4 and before
)

workers = Table(
    "tuner_workers",
    metadata,
    Column("worker_id", Integer, primary_key=True),  # random: see `storage.fencing`
    Column("study_id", ForeignKey(budgets.c.study_id, ondelete="CASCADE"), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("left_at", Double),
    Column("lease_seconds", Double, nullable=False, server_default="60"),
    Column("n_lanes", Integer, nullable=False, server_default="1"),
    Column("n_renewals", Integer, nullable=False, server_default="0"),
    Index("ix_tuner_workers_study_id", "study_id"),
)

# A trial in training: it belongs to its worker until `ends_at`, or until somebody deletes the row.
# Whoever writes to the trial locks this row first: its id, which is random, is the fencing token.
leases = Table(
    "tuner_leases",
    metadata,
    Column(
        *("lease_id", BigInteger().with_variant(Integer, "sqlite")),
        primary_key=True,
        autoincrement=False,
    ),
    Column("study_id", ForeignKey(budgets.c.study_id, ondelete="CASCADE"), nullable=False),
    Column("worker_id", ForeignKey(workers.c.worker_id, ondelete="CASCADE"), nullable=False),
    Column("trial_id", Integer),  # never null since version 2; SQLite cannot say so afterwards
    Column("ends_at", Double, nullable=False),
    Index("ix_tuner_leases_study_id", "study_id"),
    Index("ix_tuner_leases_trial_id", "trial_id", unique=True),
    Index("ix_tuner_leases_worker_id", "worker_id"),
)

# The answers of a study that were exported: version 1, 2, ..., each in place of the one before.
# `document` is the whole answer as JSON; the columns before it are for reading with plain SQL.
exports = Table(
    "tuner_exports",
    metadata,
    Column("export_id", Integer, primary_key=True),
    Column("study_id", ForeignKey(budgets.c.study_id, ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("rule", String(16), nullable=False),  # best, min, 1se
    Column("weight_decay", Double),
    Column("lr", Double),
    Column("value", Double),  # in the search
    Column("mean", Double),  # over fresh seeds, with its standard error
    Column("standard_error", Double),
    Column("trial", Integer),
    Column("pinned_trial", Integer),
    Column("reason", String(1000), nullable=False),
    Column("exported_by", String(255), nullable=False),  # user@host
    Column("exported_at", Double, nullable=False),
    Column("document", Text, nullable=False),
    Index("ix_tuner_exports_study_id_version", "study_id", "version", unique=True),
)

# Who may use the service. No password is kept, only its argon2 hash; of tokens and sessions, only
# the SHA-256 digest: whoever reads this database cannot sign in with what stands here.
users = Table(
    "tuner_users",
    metadata,
    Column("user_id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("password_hash", String(255), nullable=False),
    Column("role", String(16), nullable=False),  # viewer, operator, admin
    Column("created_at", Double, nullable=False),
    Index("ix_tuner_users_name", "name", unique=True),
)

tokens = Table(
    "tuner_tokens",
    metadata,
    Column("token_id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("used_at", Double),  # not to the second: see `storage.credentials`
    Index("ix_tuner_tokens_digest", "digest", unique=True),
)

sessions = Table(
    "tuner_sessions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("user_id", ForeignKey(users.c.user_id, ondelete="CASCADE"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("ix_tuner_sessions_user_id", "user_id"),
)

# Users who are gone: what was closed to strangers stays so, and their ids are nobody's again.
former_users = Table(
    "tuner_former_users",
    metadata,
    Column("user_id", Integer, primary_key=True, autoincrement=False),
    Column("removed_at", Double, nullable=False),
)

# Failed attempts to sign in, for all servers together; ``forgotten_at`` is when none is left.
logins = Table(
    "tuner_logins",
    metadata,
    Column("subject", String(128), primary_key=True),
    Column("forgotten_at", Double, nullable=False),
    Column("ready_at", Double, nullable=False),
    Index("ix_tuner_logins_forgotten_at", "forgotten_at"),
)

# Who did what, when, from where; rows are only ever added, or deleted when they are old.
audit = Table(
    "tuner_audit",
    metadata,
    Column("audit_id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(255), nullable=False),
    Column("address", String(64), nullable=False),
    Index("ix_tuner_audit_at", "at"),
)

own_tables = [
    *(budgets, workers, leases, exports),
    *(users, tokens, sessions, former_users, logins, audit),
]
