"""The server parameters of the embedded PostgreSQL, given on its command line at every start.

On the command line and not in a file, so that a new release of Slipway brings its own and nothing in the home
drifts.
"""

import shutil
from pathlib import Path

PORT = 5432  # only a part of the socket's name: the server never listens on the network
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (read to see how large it is)
# A parallel index build puts maintenance_work_mem into /dev/shm, which is 64 MB in a container by default.
_PARALLEL_BUILD_BYTES = 512 * 1024 * 1024

_FIXED: tuple[tuple[str, str], ...] = (
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("password_encryption", "scram-sha-256"),
    ("max_connections", "100"),
    # Durability is never traded for speed: a commit that was acknowledged survives `kill -9` and a power cut.
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    # A laptop: little memory while idle, room for one large index build.
    # Idle, all processes together: 35 MB PSS; the three workers of another io_method add 1.5 MB (2026-11-21). 23 MB
    # of it describe the shared buffers above 64 MB, whose pages cost nothing until they are used. What searches of
    # 100,000 chunks read fits 512 MB; with less they read it from the operating system again and again: one takes
    # 8 ms with 512 MB, 11 with 256 MB (ADR 0010).
    ("shared_buffers", "512MB"),
    ("io_method", "sync"),
    ("work_mem", "16MB"),
    # An HNSW build holds 2.25 KB for each vector of 384 dimensions in memory (9,313 in 20 MB, 2026-11-21): 100,000 fit.
    ("maintenance_work_mem", "256MB"),
    ("effective_cache_size", "1GB"),
    ("random_page_cost", "1.1"),  # solid state disks
    ("max_worker_processes", "4"),
    ("max_logical_replication_workers", "0"),
    ("autovacuum_max_workers", "2"),
    # Log ahead: replaying 512 MB bounds the time of a start after a crash to some seconds.
    ("max_wal_size", "512MB"),
    ("min_wal_size", "80MB"),
    ("wal_compression", "on"),
    ("checkpoint_timeout", "15min"),
    ("max_wal_senders", "2"),  # pg_basebackup needs two
    ("max_replication_slots", "0"),
    # A generic plan crossed tenants on a reused connection (recall 0.013), and compiling costs more than our
    # queries.
    ("plan_cache_mode", "force_custom_plan"),
    ("jit", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    # One file a weekday, written anew after a week. No statement, parameter or row gets into it: they are
    # tenants' data.
    ("logging_collector", "on"),
    ("log_filename", "postgresql-%a.log"),
    ("log_file_mode", "0600"),
    ("log_rotation_age", "1d"),
    ("log_rotation_size", "0"),
    ("log_truncate_on_rotation", "on"),
    ("log_checkpoints", "off"),
    ("log_min_error_statement", "panic"),
    ("log_parameter_max_length", "0"),
    ("log_error_verbosity", "terse"),
)


def parameters(*, socket: Path, log: Path, cluster_name: str) -> list[str]:
    """The arguments `-c name=value` for a server with its socket and log in these folders."""
    quoted = str(socket).replace('"', '""')
    values = [
        *_FIXED,
        ("port", str(PORT)),
        ("unix_socket_directories", f'"{quoted}"'),
        ("log_directory", str(log)),
        ("cluster_name", cluster_name),
        ("max_parallel_maintenance_workers", "2" if _parallel_build_fits() else "0"),
    ]
    return [part for name, value in values for part in ("-c", f"{name}={value}")]


def _parallel_build_fits() -> bool:
    try:
        return shutil.disk_usage(_SHARED_MEMORY).free >= _PARALLEL_BUILD_BYTES
    except OSError:  # not Linux: shared memory is not a file system there, and not limited like this
        return True
