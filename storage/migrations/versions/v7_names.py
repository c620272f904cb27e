"""Version 7: MySQL and MariaDB compare names as bytes, as the others do.

Changes what is not so, so that it can be repeated where a statement commits.
"""

from alembic import op

from storage.names import compare_as_bytes

revision = "7"
down_revision = "6"


def upgrade() -> None:
    """Change how the columns of names are compared."""
    compare_as_bytes(op.get_bind())
