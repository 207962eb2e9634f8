"""`slipway usage` and `slipway plans` as a person uses them, and the client's `usage_csv`, on a whole platform."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from slipway.api.client import Client
from slipway.base.errors import InvalidRequest
from tests.platforms import Platform, run_slipway
from tests.platforms import platform as start_platform
from tests.services.processes import until

MANIFEST = """\
slipway: 1
name: usage
plans:
  free: {requests_per_second: 1000, burst: 2000, tokens_per_month: 1M, max_output_tokens: 50}
  paid: {budget_per_month: $500, tokens_per_minute: 200k}
"""
QUESTION = [
    {"role": "system", "content": '<source id="1" title="Note" page="1">\nThe office opens at 8.\n</source>'},
    {"role": "user", "content": "When does the office open?"},
]


@dataclass(frozen=True)
class Tenant:
    """A tenant whose administrator has asked three questions with one key and one with another."""

    platform: Platform
    id: str
    key: str
    key_ids: list[str]

    def slipway(self, *arguments: str, key: str | None = None):
        there = ("--url", self.platform.url, "--api-key", key or self.key)
        return run_slipway(*arguments, *there, cwd=self.platform.home.parent)

    def client(self) -> Client:
        return Client(self.platform.url, api_key=self.key)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    folder = tmp_path_factory.mktemp("usage")
    (folder / "slipway.yaml").write_text(MANIFEST)
    settings = {"SLIPWAY_MANIFEST": str(folder / "slipway.yaml")}
    with (
        start_platform(
            folder / "home", arguments=("serve", "--target", "gateway,identity"), settings=settings
        ) as there,
        httpx.Client(base_url=there.url, headers=there.headers(), timeout=30) as admin,
    ):
        tenant_id = admin.post("/v1/admin/tenants", json={"name": "Usage"}).json()["id"]
        path = f"/v1/admin/tenants/{tenant_id}/keys"
        keys = [admin.post(path, json={"name": name, "role": "tenant_admin"}).json() for name in ("a", "b")]
        for key, count in zip(keys, (3, 1), strict=True):
            for _ in range(count):
                answer = admin.post(
                    "/v1/chat/completions",
                    headers={"authorization": f"Bearer {key['secret']}"},
                    json={"model": "extractive", "messages": QUESTION},
                )
                assert answer.status_code == 200, answer.text
        mine = {"authorization": f"Bearer {keys[0]['secret']}"}
        until(lambda: admin.get("/v1/usage", headers=mine).json()["totals"]["requests"] == 4)
        yield Tenant(there, tenant_id, keys[0]["secret"], [key["id"] for key in keys])


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_and_sums_are_shown_with_their_totals(tenant: Tenant):
    rows = tenant.slipway("usage", "--limit", "2").stdout.splitlines()
    assert rows[0].split() == ["when", "model", "prompt", "answer", "cost", "ms", "status"]
    assert len(rows) == 4 and all("extractive" in row and row.endswith("ok") for row in rows[1:3])
    assert rows[-1].startswith("4 requests, ") and rows[-1].endswith(", $0.00")
    sums = tenant.slipway("usage", "--by", "key, model").stdout.splitlines()
    assert sums[0].split()[:3] == ["key_id", "model", "requests"]
    assert {tuple(line.split()[:3]) for line in sums[1:-1]} == {
        (tenant.key_ids[0], "extractive", "3"),
        (tenant.key_ids[1], "extractive", "1"),
    }
    assert sums[-1] == rows[-1]
    by_day = tenant.slipway("usage", "--by", "day,tenant").stdout.splitlines()
    assert by_day[1].split()[1:3] == [tenant.id, "4"]
    assert tenant.slipway("usage", "--json").stdout.startswith('{"items":[{"request_id":"req_')


def test_csv_is_what_a_spreadsheet_reads(tenant: Tenant):
    ran = tenant.slipway("usage", "--csv")
    rows = lines(ran.stdout)
    assert (ran.returncode, ran.stderr, len(rows)) == (0, "", 4)
    assert {row["key_id"] for row in rows} == set(tenant.key_ids)
    assert len({row["request_id"] for row in rows}) == 4
    assert all(datetime.fromisoformat(row["at"]).tzinfo for row in rows)
    groups = lines(tenant.slipway("usage", "--csv", "--by", "model,key").stdout)
    assert {(group["model"], group["key_id"], group["requests"]) for group in groups} == {
        ("extractive", tenant.key_ids[0], "3"),
        ("extractive", tenant.key_ids[1], "1"),
    }
    assert sum(int(group["prompt_tokens"]) for group in groups) == sum(int(row["prompt_tokens"]) for row in rows)


def test_a_period_has_its_first_moment_and_not_its_last(tenant: Tenant):
    times = sorted(row["at"] for row in lines(tenant.slipway("usage", "--csv").stdout))
    ran = tenant.slipway("usage", "--csv", "--since", times[1], "--until", times[3])
    assert sorted(row["at"] for row in lines(ran.stdout)) == times[1:3]
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    assert tenant.slipway("usage", "--since", tomorrow).stdout.endswith("0 requests, 0 + 0 tokens, $0.00\n")
    assert len(lines(tenant.slipway("usage", "--csv", "--until", tomorrow).stdout)) == 4
    assert tenant.slipway("usage", "--csv", "--by", "day", "--since", tomorrow).stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--since", "yesterday"), "--since takes a day or a time, like 2026-11-01 or 2026-11-01T12:00Z."),
        (("--until", "2026-13-01"), "--until takes a day or a time, like 2026-11-01 or 2026-11-01T12:00Z."),
        (("--since", ""), "--since takes a day or a time, like 2026-11-01 or 2026-11-01T12:00Z."),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "--since must be earlier than --until."),
        (("--since", "2026-11-02", "--until", "2026-11-02", "--csv"), "--since must be earlier than --until."),
        (("--by", "colour"), "--by takes tenant, key, model, day, separated by commas."),
        (("--by", "model,", "--csv"), "--by takes tenant, key, model, day, separated by commas."),
        (("--by", "", "--csv"), "--by takes tenant, key, model, day, separated by commas."),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(tenant: Tenant, arguments: tuple[str, ...], says: str):
    ran = tenant.slipway("usage", *arguments)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"slipway: {says}\n")


@pytest.mark.parametrize("arguments", [("--limit", "0"), ("--limit", "1001"), ("--limit", "many"), ("--sinc", "x")])
def test_a_wrong_command_line_is_refused(tenant: Tenant, arguments: tuple[str, ...]):
    ran = tenant.slipway("usage", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")


def test_options_in_front_of_a_verb_are_not_ignored(tenant: Tenant):
    ran = run_slipway(
        *("usage", "--url", tenant.platform.url, "reconcile", "req_1", "--input-tokens", "1", "--output-tokens", "1"),
        cwd=tenant.platform.home.parent,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "stand behind its name" in ran.stderr


@pytest.mark.anyio
async def test_the_client_reads_csv_and_raises_what_is_refused(tenant: Tenant):
    now = datetime.now(UTC)
    async with tenant.client() as client:
        assert len(lines(await client.usage_csv())) == 4
        assert len(lines(await client.usage_csv(key_id=tenant.key_ids[1]))) == 1
        assert len(lines(await client.usage_csv(status="error"))) == 0
        assert len(lines(await client.usage_csv(model="extractive", after=now - timedelta(hours=1), before=now))) == 4
        assert [line["requests"] for line in lines(await client.usage_csv(by=["day"]))] == ["4"]
        with pytest.raises(InvalidRequest, match="after must be earlier than before"):
            await client.usage_csv(after=now, before=now - timedelta(days=1))
        with pytest.raises(InvalidRequest):
            await client.usage_csv(after=datetime(2026, 11, 1))  # noqa: DTZ001 - a time without a zone is refused


def test_plans_are_shown_and_put_on(tenant: Tenant):
    operator = tenant.platform.api_key
    ran = tenant.slipway("plans", "list")
    assert ran.stdout.splitlines() == [
        "free                 1,000 requests/s, burst 2,000, 1,000,000 tokens/month, 50 tokens/answer",
        "paid                 200,000 tokens/min, $500.00/month",
        "Your tenant: no plan, no limits",
    ]
    refused = tenant.slipway("plans", "set-tenant", tenant.id, "free")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "admin:tenants" in refused.stderr, "a tenant does not choose its own plan"
    done = tenant.slipway("plans", "set-tenant", tenant.id, "free", key=operator)
    assert (done.returncode, done.stdout) == (0, f"{tenant.id} is on the plan free.\n")
    done = tenant.slipway("plans", "set-key", tenant.key_ids[1], "paid")
    assert done.stdout == f"{tenant.key_ids[1]} is on the plan paid.\n"
    said = tenant.slipway("plans", "list").stdout.splitlines()
    assert said[2:4] == ["Your tenant: free", f"{tenant.key_ids[1]}: paid"]
    assert said[4].startswith("tenant: 0 tokens of 1,000,000 tokens taken, 0 tokens of it spent, until ")
    for arguments, says in (
        (("set-tenant", tenant.id, "fre"), "There is no plan 'fre': did you mean 'free'?"),
        (("set-tenant", "ten_absent", "free"), "There is no such tenant."),
        (("set-key", "key_absent", "free"), "There is no such key."),
    ):
        ran = tenant.slipway("plans", *arguments, key=operator)
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"slipway: {says}\n")
    assert tenant.slipway("plans", "set-key", tenant.key_ids[1], "--none").stdout.endswith("no plan of its own.\n")
    assert tenant.slipway("plans", "set-tenant", tenant.id, "--none", key=operator).returncode == 0
    until(lambda: "no plan, no limits" in tenant.slipway("plans", "list").stdout)
