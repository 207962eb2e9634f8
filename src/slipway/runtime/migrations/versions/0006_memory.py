"""Sessions and their messages. Messages are only ever added: the application may not change or remove one by itself."""

from alembic import op

from slipway.runtime.migrations.tenancy import tenant_table

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE session ("
        " tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,"
        " id text NOT NULL,"
        " subject text NOT NULL,"
        " title text NOT NULL,"
        " message_count integer NOT NULL DEFAULT 0,"
        " created_at timestamptz NOT NULL DEFAULT now(),"
        " updated_at timestamptz NOT NULL DEFAULT now(),"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute("CREATE INDEX session_by_subject ON session (tenant_id, subject, id)")
    tenant_table("session")
    op.execute(
        "CREATE TABLE message ("
        " tenant_id text NOT NULL,"
        " session_id text NOT NULL,"
        " sequence integer NOT NULL,"
        " id text NOT NULL,"
        " role text NOT NULL CHECK (role IN ('user', 'assistant')),"
        " content text NOT NULL,"
        " citations jsonb NOT NULL,"
        " idempotency_key text,"
        " created_at timestamptz NOT NULL DEFAULT now(),"
        " PRIMARY KEY (tenant_id, session_id, sequence),"
        " FOREIGN KEY (tenant_id, session_id) REFERENCES session (tenant_id, id) ON DELETE CASCADE)"
    )
    op.execute(
        "CREATE UNIQUE INDEX message_by_idempotency_key ON message (tenant_id, session_id, idempotency_key) "
        "WHERE idempotency_key IS NOT NULL"
    )
    tenant_table("message", app="SELECT, INSERT")
