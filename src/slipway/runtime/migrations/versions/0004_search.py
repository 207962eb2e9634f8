"""Collections, chunks with their vectors, and the postings that BM25 reads (ADR 0010).

A chunk's `number` is its collection's `slot` in the upper 32 bits and a count in the lower ones, so that one range of
numbers is one collection. `posting.block` is the number without its lowest ten bits.
"""

from alembic import op

from slipway.runtime.migrations.tenancy import tenant_table

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The counters are what a ranking needs before it reads anything else; they change in the transaction that changes what
# they count. `next_number` only grows, so a number is never used twice.
_COLLECTION = """
CREATE TABLE collection (
  tenant_id text NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  name text NOT NULL,
  slot bigint GENERATED ALWAYS AS IDENTITY (MAXVALUE 2147483647),
  description text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  next_number bigint NOT NULL DEFAULT 0 CHECK (next_number < 4294967296),
  document_count bigint NOT NULL DEFAULT 0 CHECK (document_count >= 0),
  chunk_count bigint NOT NULL DEFAULT 0 CHECK (chunk_count >= 0),
  lexeme_count bigint NOT NULL DEFAULT 0 CHECK (lexeme_count >= 0),
  PRIMARY KEY (tenant_id, name),
  UNIQUE (tenant_id, slot)
)
"""

# What is searchable of a document. `lexemes` are those its postings were written under: another version of the server's
# dictionaries may cut the same text differently, and withdrawing must still find every posting.
_PUBLISHED = """
CREATE TABLE published_document (
  tenant_id text NOT NULL,
  document_id text NOT NULL,
  collection text NOT NULL,
  title text NOT NULL,
  first_number bigint NOT NULL,
  chunk_count bigint NOT NULL,
  lexeme_count bigint NOT NULL,
  lexemes text[] NOT NULL,
  PRIMARY KEY (tenant_id, document_id),
  FOREIGN KEY (tenant_id, collection) REFERENCES collection (tenant_id, name) ON DELETE CASCADE
)
"""

_CHUNK = """
CREATE TABLE chunk (
  tenant_id text NOT NULL,
  document_id text NOT NULL,
  ordinal integer NOT NULL,
  number bigint NOT NULL,
  page integer NOT NULL,
  start_char integer NOT NULL,
  end_char integer NOT NULL,
  heading text NOT NULL,
  text text NOT NULL,
  lexeme_count integer NOT NULL,
  PRIMARY KEY (tenant_id, document_id, ordinal),
  UNIQUE (tenant_id, number),
  FOREIGN KEY (tenant_id, document_id) REFERENCES published_document (tenant_id, document_id) ON DELETE CASCADE
)
"""

# Apart from the text, so that a scan of a tenant's vectors reads nothing else; of length 1, so that the inner product
# is the cosine; PLAIN, because a scan that unfolds each vector from a second table is several times slower.
_VECTOR = """
CREATE TABLE chunk_vector (
  tenant_id text NOT NULL,
  number bigint NOT NULL,
  embedding halfvec(384) NOT NULL,
  PRIMARY KEY (tenant_id, number),
  FOREIGN KEY (tenant_id, number) REFERENCES chunk (tenant_id, number) ON DELETE CASCADE
)
"""

# `packed`: 4 bytes for each chunk of the block that has the lexeme, in order of number: 10 bits of offset in the block,
# 6 of the times it occurs (63 at most), 15 of the lexemes in the chunk. A full row has 4 KB and stays on its page:
# fetching it from outside the row took most of a search. Free room on the pages lets a row grow in place.
_POSTING = """
CREATE TABLE posting (
  tenant_id text NOT NULL,
  lexeme text COLLATE "C" NOT NULL,
  block bigint NOT NULL,
  packed bytea NOT NULL,
  PRIMARY KEY (tenant_id, lexeme, block)
) WITH (fillfactor = 80, toast_tuple_target = 8160)
"""

# What ingestion has made of a document and not yet published.
_STAGED = """
CREATE TABLE staged_chunk (
  tenant_id text NOT NULL,
  document_id text NOT NULL,
  ordinal integer NOT NULL,
  page integer NOT NULL,
  start_char integer NOT NULL,
  end_char integer NOT NULL,
  heading text NOT NULL DEFAULT '',
  text text NOT NULL,
  embedding vector(384),
  PRIMARY KEY (tenant_id, document_id, ordinal)
)
"""


def upgrade() -> None:
    for statement in (_COLLECTION, _PUBLISHED, _CHUNK, _VECTOR, _POSTING, _STAGED):
        op.execute(statement)
    op.execute("CREATE INDEX published_document_collection ON published_document (tenant_id, collection)")
    # By statements of their own: PostgreSQL 15 does not know STORAGE in CREATE TABLE.
    op.execute("ALTER TABLE chunk_vector ALTER COLUMN embedding SET STORAGE PLAIN")
    # It does not compress.
    op.execute("ALTER TABLE posting ALTER COLUMN packed SET STORAGE EXTERNAL")
    # The platform reads the counters: which tenants are large enough for an index of their own (ADR 0010).
    tenant_table("collection", platform="SELECT")
    for table in ("published_document", "chunk", "chunk_vector", "posting", "staged_chunk"):
        tenant_table(table)
