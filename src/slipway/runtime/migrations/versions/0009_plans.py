"""Which usage plan holds for a tenant or for one of its keys. A plan that was taken away leaves a row without one, so
that every process sees the change."""

from alembic import op

from slipway.runtime.migrations.tenancy import tenant_table

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # `subject` is 'tenant' or the id of a key; only a key is referred to.
    op.execute(
        "CREATE TABLE plan_assignment ("
        " tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,"
        " subject text NOT NULL,"
        " key_id text GENERATED ALWAYS AS (nullif(subject, 'tenant')) STORED,"
        " plan text,"
        " changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),"
        " PRIMARY KEY (tenant_id, subject),"
        " FOREIGN KEY (tenant_id, key_id) REFERENCES api_key (tenant_id, id) ON DELETE CASCADE)"
    )
    op.execute("CREATE INDEX plan_assignment_changed ON plan_assignment (changed_at)")
    tenant_table("plan_assignment", app="SELECT, INSERT, UPDATE", platform="SELECT, INSERT, UPDATE")
