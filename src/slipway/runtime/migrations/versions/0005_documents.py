"""Documents, uploads and the durable workflow of their ingestion."""

from alembic import op

from slipway.runtime.migrations.tenancy import tenant_table

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE workflow ("
        " tenant_id text NOT NULL REFERENCES tenant ON DELETE CASCADE,"
        " id text NOT NULL,"
        " kind text NOT NULL,"
        " subject_id text NOT NULL,"
        " acting_subject text NOT NULL,"
        " acting_role text NOT NULL,"
        " acting_scopes text[] NOT NULL,"
        " acting_key_id text,"
        " state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed')),"
        " fence text,"
        # When a queued one may be claimed, and when the lease of a running one ends: one condition finds both.
        " due_at timestamptz NOT NULL,"
        " attempts int NOT NULL DEFAULT 0,"
        " retries int NOT NULL DEFAULT 0,"
        " failing_since timestamptz,"
        " error_code text,"
        " error_message text,"
        " created_at timestamptz NOT NULL DEFAULT now(),"
        " started_at timestamptz,"
        " ended_at timestamptz,"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute("CREATE INDEX workflow_due ON workflow (due_at) WHERE state IN ('queued', 'running')")
    op.execute("CREATE INDEX workflow_fence ON workflow (fence) WHERE state = 'running'")
    op.execute("CREATE INDEX workflow_subject ON workflow (tenant_id, subject_id)")
    tenant_table("workflow", platform="SELECT, UPDATE")
    op.execute(
        "CREATE TABLE workflow_step ("
        " tenant_id text NOT NULL,"
        " workflow_id text NOT NULL,"
        " name text NOT NULL,"
        " position int NOT NULL,"
        " status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'done', 'failed')),"
        " done int NOT NULL DEFAULT 0,"
        " total int,"
        " PRIMARY KEY (tenant_id, workflow_id, name),"
        " FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflow ON DELETE CASCADE)"
    )
    tenant_table("workflow_step")
    op.execute(
        "CREATE TABLE document ("
        " tenant_id text NOT NULL REFERENCES tenant ON DELETE CASCADE,"
        " id text NOT NULL,"
        " collection text NOT NULL,"
        " title text NOT NULL,"
        " file_name text NOT NULL,"
        " media_type text NOT NULL,"
        " declared_type text,"
        " size_bytes bigint NOT NULL,"
        " sha256 text NOT NULL,"
        " workflow_id text NOT NULL,"
        " status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'ready', 'failed')),"
        " text_key text,"
        " page_count int,"
        " chunk_count int,"
        " error_code text,"
        " error_message text,"
        " created_at timestamptz NOT NULL DEFAULT now(),"
        " ready_at timestamptz,"
        # Hidden and waiting for the last of its objects to go.
        " deleted_at timestamptz,"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute(
        "CREATE UNIQUE INDEX document_content ON document (tenant_id, collection, sha256) WHERE deleted_at IS NULL"
    )
    tenant_table("document")
    op.execute(
        "CREATE TABLE upload ("
        " tenant_id text NOT NULL REFERENCES tenant ON DELETE CASCADE,"
        " id text NOT NULL,"
        " collection text NOT NULL,"
        " file_name text NOT NULL,"
        " declared_type text,"
        " size_bytes bigint NOT NULL,"
        # Of a presigned upload we are not told when the object is there; the bytes of others pass through us.
        " presigned boolean NOT NULL,"
        " acting_subject text NOT NULL,"
        " acting_role text NOT NULL,"
        " acting_scopes text[] NOT NULL,"
        " acting_key_id text,"
        " expires_at timestamptz NOT NULL,"
        " look_at timestamptz NOT NULL DEFAULT now(),"
        " workflow_id text,"
        " document_id text,"
        " error_code text,"
        " error_message text,"
        " created_at timestamptz NOT NULL DEFAULT now(),"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute("CREATE INDEX upload_look ON upload (look_at) WHERE document_id IS NULL")
    # The other names of a document, which stay as long as it does and go with it.
    op.execute("CREATE INDEX upload_document ON upload (tenant_id, document_id) WHERE document_id IS NOT NULL")
    tenant_table("upload", platform="SELECT, UPDATE")
