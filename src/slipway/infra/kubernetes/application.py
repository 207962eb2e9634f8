"""One workload as Kubernetes runs it: pods that may do little, how many, how they are reached, how many go at once.

The counterpart of `constructs/task` and `constructs/service` for ECS. Called by the Kubernetes stack for each workload.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Document = dict[str, Any]

MANAGED_BY: Final = "slipway"
NAME_LABEL: Final = "app.kubernetes.io/name"
_STOP_S: Final = 40  # parts drain for 20 s, after the load balancer has had time to hear of it
_UNHEARD_S: Final = 10
_DISK_SHARE: Final = "2Gi"  # of the node's disk, for each folder that is empty at the start


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSecret:
    """A variable from Secrets Manager: the secret, and its key where it is JSON."""

    variable: str
    arn: str
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A container beside the workload's, started before it and ended after it."""

    name: str
    image: str
    user: int
    cpu: int
    memory_mib: int
    environment: Mapping[str, str]
    probe: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Between how many copies, and past which use of what was asked for (percent) for how long there are more."""

    least: int
    most: int
    cpu: int | None
    memory: int | None
    sustained_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One workload. `cpu` in units of 1/1024 core. `health` is asked whether it lives, `ready` whether it can serve;
    None asks its port. `folders` are those that it may write, empty at each start. `target_group_arn` is where the
    load balancer looks for its pods."""

    name: str
    namespace: str
    image: str
    port: int
    cpu: int
    memory_mib: int
    user: int
    region: str
    scaling: Scaling
    service: str
    health: str | None
    ready: str | None
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[PodSecret] = ()
    folders: Sequence[str] = ()
    target_group_arn: str | None = None
    sidecar: Sidecar | None = None


def documents_of(application: Application) -> tuple[Document, ...]:
    """Everything that the workload is, in the order in which it is applied."""
    return tuple(_documents(application))


def namespace(name: str) -> Document:
    """The namespace of the workloads; Kubernetes itself refuses pods that ask for more than `restricted` lets them."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": MANAGED_BY, **labels}},
    }


def metadata(name: str, namespace: str, workload: str | None = None) -> Document:
    """Name, namespace and labels of a document."""
    labels = {"app.kubernetes.io/managed-by": MANAGED_BY, "app.kubernetes.io/part-of": namespace}
    return {"name": name, "namespace": namespace, "labels": labels | ({NAME_LABEL: workload} if workload else {})}


def _documents(app: Application) -> Iterator[Document]:
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(app.name, app.namespace, app.name),
        # Its role comes by Pod Identity, whose token is mounted by itself; nothing here calls Kubernetes.
        "automountServiceAccountToken": False,
    }
    if app.secrets:
        yield _secrets(app)
    yield _deployment(app)
    yield _service(app)
    if app.scaling.most > app.scaling.least:
        yield _autoscaler(app)
    if app.scaling.most > 1:
        yield _disruptions(app)
    if app.target_group_arn is not None:
        yield _binding(app, app.target_group_arn)


def _deployment(app: Application) -> Document:
    spec: Document = {
        "selector": {"matchLabels": {NAME_LABEL: app.name}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 5,
        "template": {"metadata": {"labels": metadata("", app.namespace, app.name)["labels"]}, "spec": _pod(app)},
    }
    if app.scaling.most == app.scaling.least:  # else the autoscaler decides, and a deploy must not set it back
        spec["replicas"] = app.scaling.least
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(app.name, app.namespace, app.name),
        "spec": spec,
    }


def _pod(app: Application) -> Document:
    volumes: list[Document] = [
        {"name": _volume(folder), "emptyDir": {"sizeLimit": _DISK_SHARE}} for folder in app.folders
    ]
    if app.secrets:
        attributes = {"secretProviderClass": app.name}
        csi = {"driver": "secrets-store.csi.k8s.io", "readOnly": True, "volumeAttributes": attributes}
        volumes.append({"name": "secrets", "csi": csi})
    pod: Document = {
        "serviceAccountName": app.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _STOP_S + _UNHEARD_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": app.user,
            "runAsGroup": app.user,
            "fsGroup": app.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {NAME_LABEL: app.name}},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [_container(app)],
        "volumes": volumes,
    }
    if app.sidecar is not None:
        pod["initContainers"] = [_beside(app.sidecar)]
    return pod


def _container(app: Application) -> Document:
    mounts: list[Document] = [{"name": _volume(folder), "mountPath": folder} for folder in app.folders]
    if app.secrets:
        mounts.append({"name": "secrets", "mountPath": "/run/secrets/slipway", "readOnly": True})
    beside = app.sidecar
    container: Document = {
        "name": app.name,
        "image": app.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": app.port, "protocol": "TCP"}],
        "env": [{"name": name, "value": value} for name, value in sorted(app.environment.items())]
        + [_from_secret(app.name, secret) for secret in app.secrets],
        "resources": _resources(
            app.cpu - (beside.cpu if beside else 0), app.memory_mib - (beside.memory_mib if beside else 0)
        ),
        "securityContext": _confined(),
        # The port answers as soon as it starts; until then neither of the others asks.
        "startupProbe": {
            **_asked(app.health, app.port),
            "periodSeconds": 2,
            "failureThreshold": 90,
            "timeoutSeconds": 5,
        },
        "livenessProbe": {
            **_asked(app.health, app.port),
            "periodSeconds": 10,
            "failureThreshold": 3,
            "timeoutSeconds": 5,
        },
        "readinessProbe": {
            **_asked(app.ready, app.port),
            "periodSeconds": 5,
            "failureThreshold": 3,
            "timeoutSeconds": 5,
        },
        # The load balancer learns that the pod goes at the same time as the pod: it serves until that is known.
        "lifecycle": {"preStop": {"sleep": {"seconds": _UNHEARD_S}}},
        "volumeMounts": mounts,
    }
    if app.command:
        container["args"] = list(app.command)
    return container


def _beside(sidecar: Sidecar) -> Document:
    return {
        "name": sidecar.name,
        "image": sidecar.image,
        "restartPolicy": "Always",
        "env": [{"name": name, "value": value} for name, value in sorted(sidecar.environment.items())],
        "resources": _resources(sidecar.cpu, sidecar.memory_mib),
        "securityContext": {**_confined(), "runAsUser": sidecar.user, "runAsGroup": sidecar.user},
        "startupProbe": {"exec": {"command": list(sidecar.probe)}, "periodSeconds": 1, "failureThreshold": 30},
    }


def _resources(cpu: int, memory_mib: int) -> Document:
    """What is asked for is what there is at most: a pod never takes what a neighbour was promised."""
    amounts = {"cpu": f"{cpu * 1000 // 1024}m", "memory": f"{memory_mib}Mi"}
    return {"requests": amounts, "limits": dict(amounts)}


def _confined() -> Document:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _asked(path: str | None, port: int) -> Document:
    return (
        {"tcpSocket": {"port": port}} if path is None else {"httpGet": {"path": path, "port": port, "scheme": "HTTP"}}
    )


def _from_secret(name: str, secret: PodSecret) -> Document:
    return {"name": secret.variable, "valueFrom": {"secretKeyRef": {"name": name, "key": secret.variable}}}


def _volume(folder: str) -> str:
    return folder.strip("/").replace("/", "-").replace(".", "-").lower()


def _secrets(app: Application) -> Document:
    """Which secrets the driver fetches, as the pod's own role, and hands on as variables."""
    by_arn: dict[str, list[PodSecret]] = {}
    for secret in app.secrets:
        by_arn.setdefault(secret.arn, []).append(secret)
    objects: list[Document] = []
    for arn, secrets in by_arn.items():
        keys = [{"path": each.key, "objectAlias": each.variable} for each in secrets if each.key is not None]
        one: Document = {"objectName": arn, "objectType": "secretsmanager"}
        if keys:
            objects.append({**one, "objectAlias": f"{secrets[0].variable}.json", "jmesPath": keys})
        objects += [{**one, "objectAlias": each.variable} for each in secrets if each.key is None]
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": metadata(app.name, app.namespace, app.name),
        "spec": {
            "provider": "aws",
            "parameters": {"usePodIdentity": "true", "region": app.region, "objects": json.dumps(objects)},
            "secretObjects": [
                {
                    "secretName": app.name,
                    "type": "Opaque",
                    "data": [{"objectName": each.variable, "key": each.variable} for each in app.secrets],
                }
            ],
        },
    }


def _service(app: Application) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(app.service, app.namespace, app.name),
        "spec": {
            "type": "ClusterIP",
            "selector": {NAME_LABEL: app.name},
            "ports": [{"name": "http", "port": app.port, "targetPort": app.port, "protocol": "TCP"}],
        },
    }


def _autoscaler(app: Application) -> Document:
    limits = {"cpu": app.scaling.cpu, "memory": app.scaling.memory}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(app.name, app.namespace, app.name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": app.name},
            "minReplicas": app.scaling.least,
            "maxReplicas": app.scaling.most,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": limit}},
                }
                for name, limit in limits.items()
                if limit is not None
            ],
            # More copies once the least of what was wanted within that time asks for them: a peak alone does not.
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": app.scaling.sustained_s},
                "scaleDown": {"stabilizationWindowSeconds": 300},
            },
        },
    }


def _disruptions(app: Application) -> Document:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(app.name, app.namespace, app.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {NAME_LABEL: app.name}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _binding(app: Application, target_group_arn: str) -> Document:
    """The AWS Load Balancer Controller registers the pods with a target group that CloudFormation made."""
    return {
        "apiVersion": "elbv2.k8s.aws/v1beta1",
        "kind": "TargetGroupBinding",
        "metadata": metadata(app.name, app.namespace, app.name),
        "spec": {
            "serviceRef": {"name": app.service, "port": app.port},
            "targetGroupARN": target_group_arn,
            "targetType": "ip",
        },
    }
