"""Usage rows of the gateway."""

from alembic import op

from slipway.runtime.migrations.tenancy import tenant_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # No reference to the tenant: what was used stays on record when its tenant is gone.
    op.execute(
        "CREATE TABLE usage_row ("
        " tenant_id text NOT NULL,"
        " id text NOT NULL,"
        " at timestamptz NOT NULL,"
        " key_id text,"
        " subject text NOT NULL,"
        " actor text,"
        " operation text NOT NULL,"
        " requested_model text NOT NULL,"
        " model text NOT NULL,"
        " provider text NOT NULL,"
        " prompt_tokens bigint NOT NULL CHECK (prompt_tokens >= 0),"
        " completion_tokens bigint NOT NULL CHECK (completion_tokens >= 0),"
        " tokens_estimated boolean NOT NULL,"
        " cost_usd_micros bigint NOT NULL CHECK (cost_usd_micros >= 0),"
        " latency_ms integer NOT NULL,"
        " ttft_ms integer,"
        " status text NOT NULL CHECK (status IN ('ok', 'error', 'cancelled', 'unknown')),"
        " error_code text,"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute("CREATE INDEX usage_row_by_time ON usage_row (tenant_id, at DESC, id DESC)")
    tenant_table("usage_row", app="SELECT, INSERT")
