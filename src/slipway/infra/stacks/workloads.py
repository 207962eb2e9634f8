"""Workloads of a site as what the constructs take: images, environments, folders, probes, bounds.

The platform stack's own half: here the manifest is read, there resources are made.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws

from slipway.infra.constructs import collector
from slipway.infra.constructs.capacity import HostFolder
from slipway.infra.constructs.environment import HOME, Environment, Secret, Surroundings
from slipway.infra.constructs.feature_flags import FeatureFlags
from slipway.infra.constructs.grants import BedrockModel
from slipway.infra.constructs.image_repository import HEALTH_COMMAND, repository_name
from slipway.infra.constructs.scaling import Change, Reason
from slipway.infra.constructs.schedule import cron
from slipway.infra.constructs.stores import Stores
from slipway.infra.constructs.task import Folder, Image, Probe
from slipway.infra.site import Site
from slipway.infra.stacks.handed import Handed
from slipway.infra.topology import Workload
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.components import Scale

_PERCENT: Final = 100  # basis points of one percent
_ONLY_ELSEWHERE: Final = {"template", "ttl", "share"}  # of the environment that was merged in, not of what runs


def manifest_text(manifest: Manifest) -> str:
    """The manifest of this environment as a process reads it (SLIPWAY_MANIFEST_TEXT), with what was written alone."""
    document = manifest.model_dump(mode="json", exclude_unset=True, exclude=_ONLY_ELSEWHERE)
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def image_of(site: Site, workload: Workload) -> Image:
    """The image by digest: the platform's own, one that was built from a folder, or another's."""
    if not workload.built:
        return Image(uri=str(workload.source))
    service = None if workload.source is None else workload.name
    digest = site.inputs.image_digest if service is None else site.inputs.digest_of(service)
    registry = f"{Aws.ACCOUNT_ID}.dkr.ecr.{Aws.REGION}.{Aws.URL_SUFFIX}"
    return Image(
        uri=f"{registry}/{repository_name(site.manifest.name, service)}@{digest}",
        repository_arn=f"arn:{Aws.PARTITION}:ecr:{Aws.REGION}:{Aws.ACCOUNT_ID}:repository/"
        f"{repository_name(site.manifest.name, service)}",
    )


def command_of(site: Site, workload: Workload) -> tuple[str, ...]:
    """What the container runs; nothing where its image says it."""
    if workload.kind == "component":
        return ("serve", "--target", workload.name, "--json")
    return site.manifest.services[workload.name].command


def user_of(site: Site, workload: Workload) -> int:
    """Whom the container runs as."""
    return 10001 if workload.kind == "component" else site.manifest.services[workload.name].user


def folders_of(site: Site, workload: Workload, stores: Stores) -> Iterator[Folder]:
    """What the container may write."""
    if workload.kind == "component":
        yield Folder(path=HOME, kind="disk")
        yield Folder(path="/tmp", kind="disk")  # noqa: S108 - a folder in the container
        return
    service = site.manifest.services[workload.name]
    for path in service.scratch:
        yield Folder(path=path, kind="memory")
    if service.volume is None:
        return
    if service.volume.kind == "efs":
        yield Folder(path=service.volume.path, kind="shared", volume=stores.volumes[workload.name])
    else:
        host = HostFolder(workload=workload.name, user=service.user)
        yield Folder(path=service.volume.path, kind="host", host_path=host.path)


def host_folders(site: Site) -> tuple[HostFolder, ...]:
    """The folders that instances have for services."""
    return tuple(
        HostFolder(workload=name, user=service.user)
        for name, service in site.manifest.services.items()
        if service.volume is not None and service.volume.kind == "host"
    )


def probe_of(workload: Workload) -> Probe | None:
    """How the container is asked from inside. The load balancer asks what it leads to; others are asked here."""
    if workload.kind == "component":
        return Probe(command=HEALTH_COMMAND)
    if workload.routes:
        return None
    return Probe(command=("CMD-SHELL", _asks(workload.port, workload.health)))


def _asks(port: int, path: str | None) -> str:
    """A question with what the image has: an image of the user's brings which tools it likes. Without any of them it is
    well while it runs."""
    if path is None:
        return f"command -v bash >/dev/null || exit 0; exec bash -c '</dev/tcp/127.0.0.1/{port}'"
    address = f"http://127.0.0.1:{port}{path}"
    in_bash = (
        f'exec 3<>/dev/tcp/127.0.0.1/{port}; printf "GET {path} HTTP/1.0\\r\\n\\r\\n" >&3; '
        'read -r _ status _ <&3; [ "$status" = 200 ]'
    )
    return (
        f"if command -v wget >/dev/null; then exec wget -q -T 4 -O /dev/null {address}; fi; "
        f"if command -v curl >/dev/null; then exec curl -fsS -m 4 -o /dev/null {address}; fi; "
        f"command -v bash >/dev/null || exit 0; exec bash -c '{in_bash}'"
    )


def alone(site: Site, workload: Workload) -> bool:
    """Whether two copies must never run at once: those of one copy with a disk, which they would both write."""
    service = site.manifest.services.get(workload.name)
    return service is not None and service.volume is not None and workload.scale.max <= 1


def switches(site: Site, workload: Workload) -> bool:
    """Whether a deployment switches from all old copies to all new ones. Only what is reached by the load balancer
    alone can: a name in the private DNS has no switch, and whoever calls it would meet old and new."""
    asked_by_name = bool(site.topology.needing(workload.name))
    return site.manifest.delivery.strategy == "blue-green" and bool(workload.routes) and not asked_by_name


def spot_of(site: Site, workload: Workload) -> bool:
    """Whether it runs on spare capacity."""
    if workload.kind == "component":
        return site.manifest.component(workload.name).spot
    return site.manifest.services[workload.name].spot


def desired_of(site: Site, workload: Workload) -> int | None:
    """Copies at first. None where only scaling decides: a number in the template would take copies away that it has
    added, at each deploy."""
    service = site.manifest.services.get(workload.name)
    if service is not None and "count" in service.model_fields_set and service.count != workload.scale.min:
        return service.count
    return workload.scale.min if workload.scale.min == workload.scale.max else None


def reasons_of(scale: Scale, *, cluster: str, service: str, routed: Mapping[str, str] | None) -> Iterator[Reason]:
    """What adds copies. `routed` are the dimensions of its target group, when the load balancer leads to it."""
    own = {"ClusterName": cluster, "ServiceName": service}
    for name, metric, limit in (("Cpu", "CPUUtilization", scale.cpu), ("Memory", "MemoryUtilization", scale.memory)):
        if limit is not None:
            yield Reason(
                name=name,
                namespace="AWS/ECS",
                metric=metric,
                dimensions=own,
                statistic="Average",
                limit=limit.basis_points / _PERCENT,
            )
    if routed is None:
        return
    if scale.requests_per_minute is not None:
        yield Reason(
            name="Requests",
            namespace="AWS/ApplicationELB",
            metric="RequestCountPerTarget",
            dimensions=routed,
            statistic="Sum",
            limit=scale.requests_per_minute,
            silent=True,
        )
    if scale.latency is not None:
        yield Reason(
            name="Latency",
            namespace="AWS/ApplicationELB",
            metric="TargetResponseTime",
            dimensions=routed,
            statistic="Average",
            limit=scale.latency.milliseconds / 1000,
            silent=True,
        )


def changes_of(manifest: Manifest, scale: Scale) -> Iterator[Change]:
    """Other bounds at times of the day, and none at all while the environment is stopped."""
    for index, change in enumerate(scale.schedule):
        yield Change(name=f"bounds-{index}", cron=cron(change.at), least=change.min, most=change.max)
    if manifest.schedule is not None:
        yield Change(name="stop", cron=cron(manifest.schedule.stop), least=0, most=0)
        if manifest.schedule.start is not None:
            yield Change(name="start", cron=cron(manifest.schedule.start), least=scale.min, most=scale.max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the platform is reached: by users, and by tokens' issuer when it is not the built-in one."""

    public_url: str
    issuer: str | None = None
    audiences: tuple[str, ...] = ()


def addresses_of(handed: Handed) -> Addresses:
    """Where the platform is reached, as the stacks before it made the way there."""
    sign_in = handed.sign_in
    if sign_in is None or sign_in.issuer is None:
        return Addresses(public_url=handed.public_url)
    return Addresses(public_url=handed.public_url, issuer=sign_in.issuer, audiences=sign_in.audiences)


def surroundings_of(site: Site, stores: Stores, addresses: Addresses, flags: FeatureFlags | None) -> Surroundings:
    """What there is around every task of the site."""
    manifest = site.manifest
    platform = {"SLIPWAY_PUBLIC_URL": addresses.public_url, "SLIPWAY_MANIFEST_TEXT": manifest_text(manifest)}
    if addresses.issuer is not None:
        platform["SLIPWAY_USER_POOL_ISSUER"] = addresses.issuer
        platform["SLIPWAY_USER_POOL_AUDIENCES"] = ",".join(addresses.audiences)
    if manifest.monitoring.tracing:
        platform["SLIPWAY_OTLP_ENDPOINT"] = collector.ENDPOINT
    keys = {model.api_key_env for model in manifest.models.available.values() if model.api_key_env}
    return Surroundings(
        region=site.region,
        workloads={workload.name: workload for workload in site.topology.workloads},
        discovery={
            workload.name: f"{discovery_name(site, workload)}.{site.names.namespace}"
            for workload in site.topology.workloads
        },
        stores=stores,
        dependencies={name: dependency.secret for name, dependency in manifest.dependencies.items()},
        provider_keys=tuple(sorted(keys)),
        platform=platform,
        common=_flag_variables(flags),
        declared={
            name: Environment(
                _traced(service.environment, tracing=manifest.monitoring.tracing),
                {secret: Secret(stores.secrets[secret]) for secret in service.secrets},
            )
            for name, service in manifest.services.items()
        },
    )


def _flag_variables(flags: FeatureFlags | None) -> Mapping[str, str]:
    if flags is None:
        return {}
    return {
        "APPCONFIG_APPLICATION": flags.application_id,
        "APPCONFIG_ENVIRONMENT": flags.environment_id,
        "APPCONFIG_PROFILE": flags.profile_id,
    }


def _traced(declared: Mapping[str, str], *, tracing: bool) -> Mapping[str, str]:
    """What OpenTelemetry's libraries read by themselves, under what the service says."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.ENDPOINT, **declared} if tracing else declared


def discovery_name(site: Site, workload: Workload) -> str:
    """Its name in the private DNS."""
    service = site.manifest.services.get(workload.name)
    return workload.name if service is None or service.discovery is None else service.discovery


def bedrock_models(site: Site) -> tuple[BedrockModel, ...]:
    """The models of Bedrock that the manifest has, and where they are called."""
    return tuple(
        BedrockModel(model.id, model.region or site.region)
        for model in site.manifest.models.available.values()
        if model.provider == "bedrock" and model.id is not None
    )
