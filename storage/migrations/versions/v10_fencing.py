"""Version 10: a lease's id is a random token, and workers count their signs of life.

Changes what is not so, so that it can be repeated where a statement commits.
"""

import sqlalchemy as sa
from alembic import op

revision = "10"
down_revision = "9"

_WIDEN = {
    "postgresql": (
        "ALTER TABLE tuner_leases"
        " ALTER COLUMN lease_id DROP DEFAULT, ALTER COLUMN lease_id TYPE BIGINT",
        "DROP SEQUENCE IF EXISTS tuner_leases_lease_id_seq",
    ),
    "mysql": ("ALTER TABLE tuner_leases MODIFY lease_id BIGINT NOT NULL",),
}


def upgrade() -> None:
    """Let ids have 63 bits (SQLite's always have), and no default; add the count."""
    connection = op.get_bind()
    for statement in _WIDEN.get(connection.dialect.name, ()):
        op.execute(statement)
    columns = {column["name"] for column in sa.inspect(connection).get_columns("tuner_workers")}
    if "n_renewals" not in columns:
        count = sa.Column("n_renewals", sa.Integer, nullable=False, server_default="0")
        op.add_column("tuner_workers", count)
