"""A task definition: one container that may do little, beside it a collector, and the roles of both.

The container has no root user, no file system that it could write but its folders, no capability of Linux, and limits.
The execution role (ECS's own, before the task runs) and the task role (the container's) are apart. Called by the
platform stack for each workload.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aws_cdk import CfnTag, aws_ecs, aws_logs
from constructs import Construct

from slipway.infra.constructs import collector
from slipway.infra.constructs.environment import Secret
from slipway.infra.constructs.grants import Statement, pull_image, read_secrets, write_logs
from slipway.infra.constructs.roles import task_role
from slipway.infra.constructs.stores import Volume
from slipway.infra.reasons import accept

Definition = aws_ecs.CfnTaskDefinition
_TMPFS_OPTIONS: Final = ["nosuid", "nodev", "noexec"]
_TMPFS_SHARE: Final = 8  # a folder in memory gets an eighth of the task's: it counts against its limit
_STOP_S: Final = 30  # the platform's parts drain for 20 s (SLIPWAY_DRAIN_TIMEOUT_S); ECS kills after this


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image by its digest. `repository_arn` is set for one of the account's own registry."""

    uri: str
    repository_arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that the container may write. `disk` is empty at each start of the task and keeps the owner that the
    image gives it; `memory` anybody may write; `host` is a folder of the instance; `shared` a file system."""

    path: str
    kind: Literal["disk", "memory", "host", "shared"]
    host_path: str | None = None
    volume: Volume | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How the container is asked whether it is well, from inside."""

    command: tuple[str, ...]
    start_s: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Where output goes. `key_arn` encrypts it; without one the service's own key does."""

    group: str
    days: int
    key_arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What the collector sends where; `scraped_port` is where the container has `/metrics`."""

    namespace: str
    group: str
    group_arn: str
    region: str
    scraped_port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProps:
    """One task. `cpu` in units of 1/1024 core; `secrets` are ARNs by variable; `statements` are the container's."""

    family: str
    workload: str
    image: Image
    command: Sequence[str]
    port: int
    cpu: int
    memory_mib: int
    user: int
    launch: Literal["FARGATE", "EC2"]
    logs: Logs
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    secrets_key_arns: Sequence[str] = ()
    statements: Sequence[Statement] = ()
    folders: Sequence[Folder] = ()
    probe: Probe | None = None
    telemetry: Telemetry | None = None


class Task(Construct):
    """The definition of one workload's tasks."""

    def __init__(self, scope: Construct, construct_id: str, props: TaskProps) -> None:
        super().__init__(scope, construct_id)
        self.port = props.port
        self.container = props.workload
        self.log_group = aws_logs.CfnLogGroup(
            self,
            "Logs",
            log_group_name=props.logs.group,
            retention_in_days=props.logs.days,
            kms_key_id=props.logs.key_arn,
        )
        self.role = task_role(
            self, "Role", description=f"What tasks of {props.workload} may do", statements=props.statements
        )
        self.execution_role = task_role(
            self,
            "ExecutionRole",
            description=f"What ECS needs to start tasks of {props.workload}",
            statements=_execution(props, self.log_group.attr_arn),
        )
        self.definition = Definition(
            self,
            "Definition",
            family=props.family,
            network_mode="awsvpc",
            requires_compatibilities=[props.launch],
            cpu=str(props.cpu),
            memory=str(props.memory_mib),
            task_role_arn=self.role.attr_arn,
            execution_role_arn=self.execution_role.attr_arn,
            runtime_platform=Definition.RuntimePlatformProperty(
                cpu_architecture="X86_64", operating_system_family="LINUX"
            ),
            volumes=_volumes(props.folders) or None,
            container_definitions=[_container(props), *_beside(props)],
            tags=[CfnTag(key="Workload", value=props.workload)],
        )
        self.definition.add_resource_dependency(self.log_group)
        accept(
            self.definition,
            {
                "AwsSolutions-ECS2": "Variables hold addresses and settings that are no secrets; what is one comes "
                "from Secrets Manager by its ARN.",
            },
        )

    @property
    def arn(self) -> str:
        """The definition with its revision."""
        return self.definition.ref


def _execution(props: TaskProps, log_group_arn: str) -> tuple[Statement, ...]:
    secrets = (props.secrets[name].arn for name in sorted(props.secrets))
    return (
        *(pull_image(props.image.repository_arn) if props.image.repository_arn else ()),
        write_logs(log_group_arn),
        *read_secrets(secrets, props.secrets_key_arns),
    )


def _container(props: TaskProps) -> Definition.ContainerDefinitionProperty:
    beside = collector.MEMORY_MIB if props.telemetry else 0
    return Definition.ContainerDefinitionProperty(
        name=props.workload,
        image=props.image.uri,
        command=list(props.command) or None,
        essential=True,
        cpu=props.cpu - (collector.CPU if props.telemetry else 0),
        memory=props.memory_mib - beside,
        user=str(props.user),
        readonly_root_filesystem=True,
        privileged=False if props.launch == "EC2" else None,
        stop_timeout=_STOP_S,
        port_mappings=[Definition.PortMappingProperty(container_port=props.port, protocol="tcp")],
        environment=_pairs(props.environment),
        secrets=_references(props.secrets) or None,
        mount_points=_mounts(props.folders) or None,
        linux_parameters=_linux(props),
        health_check=_health(props.probe),
        log_configuration=_log_configuration(props.logs.group, props, props.workload),
    )


def _beside(props: TaskProps) -> list[Definition.ContainerDefinitionProperty]:
    telemetry = props.telemetry
    if telemetry is None:
        return []
    configuration = collector.configuration(
        workload=props.workload,
        namespace=telemetry.namespace,
        log_group=telemetry.group,
        region=telemetry.region,
        scraped_port=telemetry.scraped_port,
    )
    return [
        Definition.ContainerDefinitionProperty(
            name=collector.NAME,
            image=collector.IMAGE,
            essential=False,  # answers matter more than their traces
            cpu=collector.CPU,
            memory=collector.MEMORY_MIB,
            user=collector.USER,
            readonly_root_filesystem=True,
            privileged=False if props.launch == "EC2" else None,
            environment=_pairs({"AOT_CONFIG_CONTENT": configuration, "AWS_REGION": telemetry.region}),
            linux_parameters=Definition.LinuxParametersProperty(
                init_process_enabled=False,
                capabilities=_none(),
                tmpfs=[Definition.TmpfsProperty(container_path="/tmp", size=16, mount_options=_TMPFS_OPTIONS)],  # noqa: S108
            ),
            health_check=_health(Probe(command=collector.HEALTH_COMMAND, start_s=10)),
            log_configuration=_log_configuration(props.logs.group, props, collector.NAME),
            restart_policy=Definition.RestartPolicyProperty(enabled=True),
        )
    ]


def _linux(props: TaskProps) -> Definition.LinuxParametersProperty:
    size = max(16, props.memory_mib // _TMPFS_SHARE)
    in_memory = [folder.path for folder in props.folders if folder.kind == "memory"]
    return Definition.LinuxParametersProperty(
        init_process_enabled=True,  # reaps what a shell in an image leaves behind, and passes signals on
        capabilities=_none(),
        tmpfs=[
            Definition.TmpfsProperty(container_path=path, size=size // len(in_memory), mount_options=_TMPFS_OPTIONS)
            for path in in_memory
        ]
        or None,
    )


def _none() -> Definition.KernelCapabilitiesProperty:
    return Definition.KernelCapabilitiesProperty(drop=["ALL"])


def _health(probe: Probe | None) -> Definition.HealthCheckProperty | None:
    if probe is None:
        return None
    return Definition.HealthCheckProperty(
        command=list(probe.command), interval=15, timeout=5, retries=3, start_period=probe.start_s
    )


def _log_configuration(group: str, props: TaskProps, prefix: str) -> Definition.LogConfigurationProperty:
    return Definition.LogConfigurationProperty(
        log_driver="awslogs",
        options={
            "awslogs-group": group,
            "awslogs-region": props.environment["AWS_REGION"],
            "awslogs-stream-prefix": prefix,
            # A log that cannot be written must not stop what is logged: lines are dropped past this.
            "mode": "non-blocking",
            "max-buffer-size": "4m",
        },
    )


def _volumes(folders: Sequence[Folder]) -> list[Definition.VolumeProperty]:
    made: list[Definition.VolumeProperty] = []
    for folder in folders:
        if folder.kind == "disk":
            made.append(Definition.VolumeProperty(name=_volume_name(folder)))
        elif folder.kind == "host":
            made.append(
                Definition.VolumeProperty(
                    name=_volume_name(folder),
                    host=Definition.HostVolumePropertiesProperty(source_path=folder.host_path),
                )
            )
        elif folder.kind == "shared" and folder.volume is not None:
            made.append(
                Definition.VolumeProperty(
                    name=_volume_name(folder),
                    efs_volume_configuration=Definition.EFSVolumeConfigurationProperty(
                        filesystem_id=folder.volume.file_system_id,
                        transit_encryption="ENABLED",
                        authorization_config=Definition.AuthorizationConfigProperty(
                            access_point_id=folder.volume.access_point_id, iam="ENABLED"
                        ),
                    ),
                )
            )
    return made


def _mounts(folders: Sequence[Folder]) -> list[Definition.MountPointProperty]:
    return [
        Definition.MountPointProperty(source_volume=_volume_name(folder), container_path=folder.path, read_only=False)
        for folder in folders
        if folder.kind != "memory"
    ]


def _volume_name(folder: Folder) -> str:
    return folder.path.strip("/").replace("/", "-").replace(".", "-")


def _references(secrets: Mapping[str, Secret]) -> list[Definition.SecretProperty]:
    return [Definition.SecretProperty(name=name, value_from=secrets[name].value_from) for name in sorted(secrets)]


def _pairs(values: Mapping[str, Any]) -> list[Definition.KeyValuePairProperty]:
    return [Definition.KeyValuePairProperty(name=name, value=value) for name, value in sorted(values.items())]
