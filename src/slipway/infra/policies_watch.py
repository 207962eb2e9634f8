"""Which services nobody would be told about: those that no alarm of the site looks at.

Used by `policies`. An alarm looks at a resource when one of its dimensions refers to it, in its own stack or by an
export, or states the resource's own name.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from slipway.infra.app import Assembly, StackTemplate

# What a service is called in its own properties, by type: an alarm may state that name instead of referring.
_WATCHED: Final[Mapping[str, tuple[str, ...]]] = {
    "AWS::ApiGateway::RestApi": ("Name",),
    "AWS::ECS::Service": ("ServiceName",),
    "AWS::EKS::Cluster": ("Name",),
    "AWS::ElastiCache::ReplicationGroup": ("ReplicationGroupId",),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ("Name",),
    "AWS::Neptune::DBCluster": ("DBClusterIdentifier",),
    "AWS::OpenSearchService::Domain": ("DomainName",),
    "AWS::RDS::DBCluster": ("DBClusterIdentifier",),
    "AWS::Scheduler::ScheduleGroup": ("Name",),
    "AWS::StepFunctions::StateMachine": ("StateMachineName",),
}


def unalarmed(assembly: Assembly) -> Iterator[tuple[StackTemplate, str, str]]:
    """(stack, logical id, message) of each service that no alarm looks at; previews are watched by nobody."""
    if not assembly.site.lasting:
        return
    exports = _exports(assembly)
    seen: set[str] = set()
    for stack in assembly.stacks:
        for resource in stack.resources("AWS::CloudWatch::Alarm").values():
            seen.update(_looked_at(stack.part, _dimensions(resource.get("Properties", {})), exports))
    for stack in assembly.stacks:
        for name, resource in stack.resources().items():
            kind = resource["Type"]
            if kind in _WATCHED:
                own = [str(resource.get("Properties", {}).get(key)) for key in _WATCHED[kind]]
                if f"{stack.part}/{name}" not in seen and not seen.intersection(own):
                    yield stack, name, "no alarm looks at it: nobody would be told"


def _dimensions(properties: Mapping[str, Any]) -> list[Any]:
    metrics = [each.get("MetricStat", {}).get("Metric", {}) for each in properties.get("Metrics", ())]
    return [dimension.get("Value") for holder in (properties, *metrics) for dimension in holder.get("Dimensions", ())]


def _looked_at(part: str, value: Any, exports: Mapping[str, tuple[str, Any]]) -> Iterator[str]:
    """`stack/logical id` of what a value refers to, and every text in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _looked_at(part, item, exports)
    elif isinstance(value, Mapping):
        for key, argument in value.items():
            if key == "Ref" and isinstance(argument, str):
                yield f"{part}/{argument}"
            elif key == "Fn::GetAtt":
                yield f"{part}/{argument[0] if isinstance(argument, list) else argument.partition('.')[0]}"
            elif key == "Fn::ImportValue" and isinstance(argument, str) and argument in exports:
                source, exported = exports[argument]
                yield from _looked_at(source, exported, exports)
            else:
                yield from _looked_at(part, argument, exports)


def _exports(assembly: Assembly) -> Mapping[str, tuple[str, Any]]:
    return {
        output["Export"]["Name"]: (stack.part, output["Value"])
        for stack in assembly.stacks
        for output in stack.template.get("Outputs", {}).values()
        if isinstance(output.get("Export", {}).get("Name"), str)
    }
