"""Rules about the source itself that no linter has."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "slipway").rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "misc"}
# Where work begins before a tenant is known, or goes over all of them. A new use is a decision: add it here with care.
PLATFORM_TRANSACTIONS = {
    "runtime/database.py",
    "runtime/authentication/stored.py",
    "runtime/workflows.py",
    "services/gateway/adapter_postgres.py",  # a batch of usage rows goes over tenants
    "services/identity/adapter_postgres.py",
    "services/identity/adapter_postgres_grants.py",
    "services/gateway/adapter_postgres_corrections.py",  # an administrator puts rows of any tenant right
    "services/gateway/adapter_postgres_leases.py",  # leases of silent holders, whatever their tenant
    "services/gateway/adapter_postgres_plans.py",  # an administrator's assignment, and changes of every tenant
    "services/identity/bootstrap.py",
    "services/retrieval/adapter_chunks_index.py",  # sizes of tenants, to build and drop their indexes
    "services/retrieval/uploads.py",
}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listed.stdout.splitlines()]


def test_only_settings_read_the_environment():
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if re.search(r"\bos\.(environ|getenv)\b|from os import .*\b(environ|getenv)\b", path.read_text())
    }
    assert readers == {
        "src/slipway/runtime/settings.py",
        "src/slipway/functions/environment.py",  # a Lambda function's own, without pydantic
        "src/slipway/infra/node.py",  # where jsii looks for its node, before anything is configured
    }


def test_platform_transactions_are_where_they_are_known_to_be():
    users = {
        path.relative_to(ROOT / "src" / "slipway").as_posix()
        for path in SOURCES
        if "platform_transaction" in path.read_text()
    }
    assert users == PLATFORM_TRANSACTIONS, "a new use of platform_transaction: can it be a tenant's transaction?"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_files_are_small_named_well_and_documented(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= 600
    assert path.stem not in FORBIDDEN_NAMES
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path.name} lacks a module docstring"


def test_tracked_files_name_no_registry_host_and_no_path_of_a_machine():
    hosts = re.compile(r"https?://[a-z.]*(pypi|pythonhosted|npmjs|registry\.)[a-z.]*")
    homes = re.compile(r"(?<![\w.])/(?:work|root|home/[a-z]+)/[a-z]")
    wrong = [
        path.relative_to(ROOT).as_posix()
        for path in tracked()
        if path.suffix in {".py", ".md", ".toml", ".lock", ".json", ".yaml", ".yml", ""}
        and path.is_file()
        and path != Path(__file__)
        and (hosts.search(text := path.read_text(errors="ignore")) or homes.search(text))
    ]
    assert wrong == []


def test_locks_hold_a_hash_for_every_package():
    for path in (ROOT / "requirements").glob("*.lock"):
        requirements = [line for line in path.read_text().splitlines() if re.match(r"[a-z0-9]", line)]
        assert requirements
        for block in path.read_text().split("\n"):
            if re.match(r"[a-z0-9].*==", block):
                assert block.rstrip().endswith("\\"), f"{path.name}: {block} has no hash"
