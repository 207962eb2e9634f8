"""Users, API keys, OAuth clients, codes and refresh tokens, signing keys."""

from alembic import op

from slipway.runtime.migrations.tenancy import platform_table, tenant_table

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Processes learn of a revocation by asking for what changed lately, so the time of a change is the database's own and
# nobody can forget to set it. Only columns that decide about access count: a write to another must not empty caches.
_CHANGED = """
CREATE FUNCTION identity_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.changed_at := clock_timestamp();
  RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.execute(_CHANGED)
    op.execute(
        "CREATE TABLE user_account ("
        " tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,"
        " id text NOT NULL,"
        " email text NOT NULL CHECK (email = lower(email)),"
        " role text NOT NULL,"
        " password_hash text,"
        " created_at timestamptz NOT NULL DEFAULT now(),"
        " deleted_at timestamptz,"
        " changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute("CREATE UNIQUE INDEX user_account_email ON user_account (tenant_id, email) WHERE deleted_at IS NULL")
    op.execute(
        "CREATE TABLE api_key ("
        " tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,"
        " id text NOT NULL,"
        " name text NOT NULL,"
        " prefix text NOT NULL UNIQUE,"
        " hash bytea NOT NULL CHECK (length(hash) = 32),"
        " role text NOT NULL,"
        " scopes text[] NOT NULL,"
        " created_by text NOT NULL,"
        " created_at timestamptz NOT NULL DEFAULT now(),"
        " expires_at timestamptz,"
        " revoked_at timestamptz,"
        " changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute(
        "CREATE TABLE oauth_client ("
        " tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,"
        " id text NOT NULL,"
        " name text NOT NULL,"
        " redirect_uris text[] NOT NULL,"
        " secret_hash bytea CHECK (length(secret_hash) = 32),"
        " role text NOT NULL,"
        " scopes text[] NOT NULL,"
        " created_at timestamptz NOT NULL DEFAULT now(),"
        " deleted_at timestamptz,"
        " changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute("CREATE UNIQUE INDEX oauth_client_id ON oauth_client (id)")
    for table, columns in (
        ("user_account", "role, deleted_at"),
        ("api_key", "hash, role, scopes, expires_at, revoked_at"),
        ("oauth_client", "secret_hash, role, scopes, deleted_at"),
    ):
        op.execute(f"CREATE INDEX {table}_changed ON {table} (changed_at)")
        op.execute(
            f"CREATE TRIGGER changed BEFORE INSERT OR UPDATE OF {columns} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION identity_changed()"
        )
    _grants_of_clients()
    tenant_table("user_account", app="SELECT, INSERT, UPDATE", platform="SELECT")
    tenant_table("api_key", app="SELECT, INSERT, UPDATE", platform="SELECT, INSERT")
    tenant_table("oauth_client", app="SELECT, INSERT, UPDATE", platform="SELECT")
    op.execute(
        "CREATE TABLE signing_key ("
        " id text PRIMARY KEY,"
        " algorithm text NOT NULL,"
        " public_jwk jsonb NOT NULL,"
        " private_sealed bytea NOT NULL,"
        " created_at timestamptz NOT NULL,"
        " active_from timestamptz NOT NULL)"
    )
    platform_table("signing_key")


def _grants_of_clients() -> None:
    op.execute(
        "CREATE TABLE authorization_code ("
        " tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,"
        " id text NOT NULL,"
        " hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),"
        " client_id text NOT NULL,"
        " user_id text NOT NULL,"
        " redirect_uri text NOT NULL,"
        " code_challenge text NOT NULL,"
        " scopes text[] NOT NULL,"
        " openid boolean NOT NULL,"
        " nonce text,"
        " family text NOT NULL,"
        " created_at timestamptz NOT NULL,"
        " expires_at timestamptz NOT NULL,"
        " used_at timestamptz,"
        " replayed_at timestamptz,"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute("CREATE INDEX authorization_code_family ON authorization_code (family)")
    op.execute("CREATE INDEX authorization_code_expiry ON authorization_code (expires_at)")
    op.execute(
        "CREATE TABLE refresh_token ("
        " tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,"
        " id text NOT NULL,"
        " hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),"
        " family text NOT NULL,"
        " client_id text NOT NULL,"
        " user_id text NOT NULL,"
        " scopes text[] NOT NULL,"
        " created_at timestamptz NOT NULL,"
        " expires_at timestamptz NOT NULL,"
        " used_at timestamptz,"
        " revoked_at timestamptz,"
        " PRIMARY KEY (tenant_id, id))"
    )
    op.execute("CREATE INDEX refresh_token_family ON refresh_token (family)")
    op.execute("CREATE INDEX refresh_token_expiry ON refresh_token (expires_at)")
    op.execute(
        "CREATE TABLE login_attempt ("
        " tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,"
        " email_hash bytea NOT NULL,"
        " failures integer NOT NULL,"
        " not_before timestamptz NOT NULL,"
        " PRIMARY KEY (tenant_id, email_hash))"
    )
    tenant_table("authorization_code", app="SELECT", platform="SELECT, INSERT, UPDATE, DELETE")
    tenant_table("refresh_token", app="SELECT, UPDATE", platform="SELECT, INSERT, UPDATE, DELETE")
    tenant_table("login_attempt", app="SELECT, INSERT, UPDATE, DELETE", platform="SELECT, DELETE")
