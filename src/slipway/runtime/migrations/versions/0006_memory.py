"""Sessions and their messages."""

from alembic import op

from slipway.runtime.migrations.tenancy import platform_table, tenant_table

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
