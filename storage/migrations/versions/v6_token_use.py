"""Version 6: tokens say when they were last used; `tuner_best` leaves out confirmations.

Adds what is missing, so that it can be repeated where a statement commits.
"""

import sqlalchemy as sa
from alembic import op

from storage import views

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Add the column where it is not there, and make the views anew."""
    connection = op.get_bind()
    present = {column["name"] for column in sa.inspect(connection).get_columns("tuner_tokens")}
    if "used_at" not in present:
        op.add_column("tuner_tokens", sa.Column("used_at", sa.Double))
    views.create_views(connection)
