"""Version 9: attempts to sign in are forgotten one by one, and users who are gone leave a trace.

Attempts of before are forgotten. Creates what is missing, so that it can be repeated where a
statement commits.
"""

import sqlalchemy as sa
from alembic import op

revision = "9"
down_revision = "8"

_metadata = sa.MetaData()

_logins = sa.Table(
    "tuner_logins",
    _metadata,
    sa.Column("subject", sa.String(128), primary_key=True),
    sa.Column("forgotten_at", sa.Double, nullable=False),
    sa.Column("ready_at", sa.Double, nullable=False),
    sa.Index("ix_tuner_logins_forgotten_at", "forgotten_at"),
)
_former_users = sa.Table(
    "tuner_former_users",
    _metadata,
    sa.Column("user_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("removed_at", sa.Double, nullable=False),
)


def upgrade() -> None:
    """Make the table of attempts anew, and the other where it is not there."""
    connection = op.get_bind()
    columns = {column["name"] for column in sa.inspect(connection).get_columns("tuner_logins")}
    if "forgotten_at" not in columns:
        op.drop_table("tuner_logins", if_exists=True)
    for table in (_logins, _former_users):
        table.create(connection, checkfirst=True)
        for index in table.indexes:
            index.create(connection, checkfirst=True)
