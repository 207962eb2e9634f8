"""Collections, chunks, postings."""

from alembic import op

from slipway.runtime.migrations.tenancy import platform_table, tenant_table

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
