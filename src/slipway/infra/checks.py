"""The gates over one synthesis: cfn-lint, cdk-nag and our own policies, side by side, as values.

Called by `operations.plan` and by tests. cdk-nag runs in CDK's node process over the tree that was synthesized; its
answer is taken as a report, so that nothing is raised, printed or synthesized twice. cfn-lint runs in this process and
in helpers (`linting`). A finding is accepted only where the resource's metadata names its rule (`reasons`); one about
wildcards only where every such statement is named by its Sid.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from slipway.infra.app import Assembly, StackTemplate, Synthesis
from slipway.infra.findings import Finding
from slipway.infra.lint_cache import LintCache
from slipway.infra.linting import Helper, lint_all
from slipway.infra.policies import policies
from slipway.infra.reasons import reasons_of
from slipway.infra.wildcards import unreasoned, wildcards

_WILDCARDS: Final = "AwsSolutions-IAM5"
_ENUM: Final = "E3030"
_IS: Final = " is "
_SEVERITIES: Final[Mapping[str, Any]] = {"E": "error", "W": "warning"}


def check(synthesis: Synthesis, by: tuple[Helper, ...] = (), cache: LintCache | None = None) -> tuple[Finding, ...]:
    """All findings, sorted; those with a reason are among them. `by` are helpers of `linting`, `cache` its memory."""
    with ThreadPoolExecutor(max_workers=1) as side:  # nag waits for node while cfn-lint computes here
        nagged = side.submit(lambda: tuple(nag(synthesis)))
        linted = frozenset(lint(synthesis.assembly, by, cache))
        ours = (finding for finding in policies(synthesis.assembly) if not _told(finding, linted))
        return tuple(sorted({*linted, *ours, *nagged.result()}))


def lint(assembly: Assembly, by: tuple[Helper, ...] = (), cache: LintCache | None = None) -> Iterator[Finding]:
    """What cfn-lint says, errors and warnings."""
    matches = lint_all(((stack.part, stack.text, stack.region) for stack in assembly.stacks), by, cache)
    for stack in assembly.stacks:
        for match in matches[stack.part]:
            name = match.path[1] if len(match.path) > 1 and match.path[0] == "Resources" else ""
            where = ".".join(match.path[2:])
            yield Finding(
                stack=stack.part,
                resource=name,
                rule=match.rule,
                message=f"{where}: {match.message}" if where else match.message,
                gate="cfn-lint",
                severity=_SEVERITIES[match.rule[0]],
                accepted=reasons_of(stack.resources().get(name, {})).get(match.rule, ""),
            )


def nag(synthesis: Synthesis) -> Iterator[Finding]:
    """What cdk-nag's rules for AWS solutions say, over the tree as it was synthesized."""
    from cdk_nag import AwsSolutionsChecks

    stacks = {path: (stack, name) for stack in synthesis.assembly.stacks for path, name in stack.paths.items()}
    report = AwsSolutionsChecks(synthesis.app).validate_scope(synthesis.app)
    for violation in report.violations:
        rule = violation.rule_name.partition("[")[0]
        for construct in violation.violating_resources:
            path = getattr(construct, "construct_path", None) or ""
            stack, name = stacks.get(path, (None, path))
            yield Finding(
                stack=stack.part if stack is not None else "",
                resource=name,
                rule=rule,
                message=_said(violation.rule_name, violation.description),
                gate="cdk-nag",
                severity="warning" if violation.severity == "warning" else "error",
                accepted=_accepted(stack, name, rule),
            )


def _told(finding: Finding, linted: AbstractSet[Finding]) -> bool:
    """Whether cfn-lint said the same: a value that is none of an enum."""
    return finding.rule == "enum" and any(
        other.rule == _ENUM
        and other.place == finding.place
        and other.message.startswith(f"Properties.{finding.message.partition(_IS)[0]}:")
        for other in linted
    )


def refused(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that stop a deploy."""
    return tuple(finding for finding in findings if finding.refused)


def _said(rule: str, description: str) -> str:
    detail = rule.partition("[")[2].removesuffix("]")
    sentence = description.strip()
    return f"{sentence} ({detail})" if detail else sentence


def _accepted(stack: StackTemplate | None, name: str, rule: str) -> str:
    resource = stack.resources().get(name) if stack is not None else None
    if resource is None:
        return ""
    reasons = reasons_of(resource)
    if rule != _WILDCARDS:
        return reasons.get(rule, "")
    sids = [statement.get("Sid", "") for statement in wildcards(resource)]
    if not sids or unreasoned(resource):
        return ""
    return "; ".join(f"{sid}: {reasons[sid]}" for sid in sids)
