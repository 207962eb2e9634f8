"""What only AWS can answer before a deploy: bootstrap, quotas, certificates, names that are taken.

Asked with credentials; without them every check says that it was skipped and why. A check that fails refuses the plan,
one that cannot be asked (a right that is missing) is skipped: a plan is often made with fewer rights than a deploy.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from slipway.infra.app import Assembly
from slipway.infra.site import Site

State = Literal["passed", "failed", "skipped"]
BOOTSTRAP: Final = "bootstrap"
# Service and code of a quota, what counts against it in the templates, and what counts against it in the account.
_QUOTAS: Final = (
    ("vpc", "L-F678F1CE", "AWS::EC2::VPC", "VPCs of the region"),
    ("ec2", "L-0263D0A3", "AWS::EC2::EIP", "public addresses of the region"),
)


@dataclass(frozen=True, slots=True)
class Preflight:
    """One check. `said` is what was found, or why it was not asked."""

    check: str
    state: State
    said: str


@dataclass(frozen=True, slots=True)
class Account:
    """A session that has credentials; `session` is boto3's."""

    session: Any

    def client(self, service: str, region: str) -> Any:
        """A client of one service."""
        return self.session.client(service, region_name=region)


CHECKS: Final = ("credentials", "bootstrap", "quotas", "certificates", "names")


def skipped(why: str) -> tuple[Preflight, ...]:
    """Every check, none of them asked."""
    return tuple(Preflight(check, "skipped", f"skipped, because {why}") for check in CHECKS)


def preflight(account: Account, assembly: Assembly, existing: frozenset[str]) -> tuple[Preflight, ...]:
    """Every check against the account; `existing` are the stacks of this environment that are deployed."""
    looks: tuple[tuple[str, Callable[[], Iterator[Preflight]]], ...] = (
        ("credentials", lambda: _credentials(account, assembly.site)),
        ("bootstrap", lambda: _bootstrap(account, assembly)),
        ("quotas", lambda: _quotas(account, assembly, existing)),
        ("certificates", lambda: _certificates(account, assembly.site)),
        ("names", lambda: _names(account, assembly, existing)),
    )
    return tuple(found for check, look in looks for found in _asked(check, look))


def _asked(check: str, look: Callable[[], Iterator[Preflight]]) -> Iterator[Preflight]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield from tuple(look())
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "an error")
        yield Preflight(check, "skipped", f"skipped, because AWS answered {code}")
    except BotoCoreError as error:
        yield Preflight(check, "skipped", f"skipped, because AWS cannot be asked: {type(error).__name__}")


def _credentials(account: Account, site: Site) -> Iterator[Preflight]:
    caller = account.client("sts", site.region).get_caller_identity()
    wanted = site.manifest.delivery.account
    if wanted is not None and wanted != caller["Account"]:
        yield Preflight("credentials", "failed", f"they are of account {caller['Account']}, and this is {wanted}'s")
    else:
        yield Preflight("credentials", "passed", f"account {caller['Account']}")


def _bootstrap(account: Account, assembly: Assembly) -> Iterator[Preflight]:
    from botocore.exceptions import ClientError

    name = f"{assembly.site.manifest.name}-shared-{BOOTSTRAP}"
    for region in dict.fromkeys(stack.region for stack in assembly.stacks):
        try:
            account.client("cloudformation", region).describe_stacks(StackName=name)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ValidationError":
                raise
            yield Preflight("bootstrap", "failed", f"{region} has no stack {name}: deploy it once before the others")
        else:
            yield Preflight("bootstrap", "passed", f"{name} is there in {region}")


def _quotas(account: Account, assembly: Assembly, existing: frozenset[str]) -> Iterator[Preflight]:
    for stack_region in dict.fromkeys(stack.region for stack in assembly.stacks):
        ec2 = account.client("ec2", stack_region)
        used = {
            "AWS::EC2::VPC": lambda ec2=ec2: len(ec2.describe_vpcs()["Vpcs"]),
            "AWS::EC2::EIP": lambda ec2=ec2: len(ec2.describe_addresses()["Addresses"]),
        }
        for service, code, kind, what in _QUOTAS:
            stacks = [each for each in assembly.stacks if each.region == stack_region and each.name not in existing]
            wanted = sum(len(each.resources(kind)) for each in stacks)
            if not wanted:
                continue
            quota = account.client("service-quotas", stack_region).get_service_quota(
                ServiceCode=service, QuotaCode=code
            )
            limit, present = int(quota["Quota"]["Value"]), used[kind]()
            text = f"{what} {stack_region}: {present} of {limit} are taken, {wanted} more are wanted"
            yield Preflight("quotas", "passed" if present + wanted <= limit else "failed", text)


def _certificates(account: Account, site: Site) -> Iterator[Preflight]:
    domain = site.manifest.edge.domain
    given = () if domain is None else (domain.certificate, domain.cdn_certificate)
    arns = [arn for arn in given if arn]
    if not arns:
        yield Preflight("certificates", "passed", "none is brought along: ACM makes and renews them")
    for arn in arns:
        region = arn.split(":")[3]
        certificate = account.client("acm", region).describe_certificate(CertificateArn=arn)["Certificate"]
        state: State = "passed" if certificate["Status"] == "ISSUED" else "failed"
        yield Preflight("certificates", state, f"{certificate['DomainName']} in {region} is {certificate['Status']}")


def _names(account: Account, assembly: Assembly, existing: frozenset[str]) -> Iterator[Preflight]:
    """Stacks of these names that are somebody else's."""
    taken = []
    for region in dict.fromkeys(stack.region for stack in assembly.stacks):
        client = account.client("cloudformation", region)
        names = {stack.name for stack in assembly.stacks if stack.region == region}
        for page in client.get_paginator("describe_stacks").paginate():
            for stack in page["Stacks"]:
                tags = {tag["Key"]: tag["Value"] for tag in stack.get("Tags", ())}
                if stack["StackName"] in names and tags.get("ManagedBy") != "slipway":
                    taken.append(f"{stack['StackName']} in {region}")
    del existing
    if taken:
        yield Preflight("names", "failed", f"stacks of these names are not Slipway's: {', '.join(taken)}")
    else:
        yield Preflight("names", "passed", "no other stack has one of these names")
