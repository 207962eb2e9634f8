"""Documents, uploads and the durable workflow of their ingestion."""

from alembic import op

from slipway.runtime.migrations.tenancy import platform_table, tenant_table

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
