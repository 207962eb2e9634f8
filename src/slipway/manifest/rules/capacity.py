"""What runs must be able to start: sizes that Fargate has, tasks that fit their instances, disks that are there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from slipway.manifest.catalog import CATALOG, TASK_SIZES
from slipway.manifest.instances import Room, room_of
from slipway.manifest.problems import Finding, Path
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.components import Scale

# MiB from, to and in steps of, by CPU units (ECS developer guide, "Task CPU and memory"; 256 takes 512, 1024, 2048).
_FARGATE_MEMORY: Final = {
    512: (1024, 4096, 1024), 1024: (2048, 8192, 1024), 2048: (4096, 16384, 1024), 4096: (8192, 30720, 1024),
    8192: (16384, 61440, 4096), 16384: (32768, 122880, 8192),
}  # fmt: skip
# How much of an instance's memory tasks get: the ECS agent registers 3884 of a t3.medium's 4096 MiB; the kubelet of
# one keeps some 540 MiB, and the add-ons of each node run beside.
_SHARE: Final = {"ec2": 0.92, "eks": 0.78}


@dataclass(frozen=True, slots=True)
class Task:
    """What one copy of something asks for, and how many copies there are at least and at most."""

    name: str
    path: Path
    cpu: int
    memory_mib: int
    scale: Scale
    spot: bool
    public: bool


def tasks(manifest: Manifest) -> Iterator[Task]:
    """Every component and service that runs."""
    for name in manifest.component_order():
        settings = manifest.component(name)
        size = TASK_SIZES[settings.size or CATALOG[name].default_size]
        path: Path = ("components", name) if manifest.components and name in manifest.components else ("components",)
        yield Task(name, path, size.cpu, size.memory_mib, settings.scale, settings.spot, public=True)
    for name, service in manifest.services.items():
        public = service.route is not None and service.exposure == "public"
        yield Task(
            name, ("services", name), service.cpu, service.memory_mib, service.bounds(), service.spot, public=public
        )


def fargate_sizes(manifest: Manifest) -> Iterator[Finding]:
    """A service's memory is one that Fargate has for its CPU."""
    if manifest.compute != "fargate":
        return
    for name, service in manifest.services.items():
        allowed = _memory_of(service.cpu)
        if service.memory_mib not in allowed:
            fitting = next((each for each in allowed if each >= service.memory_mib), allowed[-1])
            yield Finding(
                ("services", name, "memory_mib"),
                f"Fargate has no task of {service.cpu} CPU units and {service.memory_mib} MiB: with {service.cpu} it "
                f"takes {allowed[0]} to {allowed[-1]} MiB; write memory_mib: {fitting}",
            )


def host_volumes(manifest: Manifest) -> Iterator[Finding]:
    """A disk of the instance needs an instance, and one copy that uses it."""
    for name, service in manifest.services.items():
        if service.volume is None or service.volume.kind != "host":
            continue
        path = ("services", name, "volume")
        if manifest.compute != "ec2":
            yield Finding(
                path,
                f"compute: {manifest.compute} gives {name} no disk of an instance: write kind: efs, or compute: ec2",
            )
        if service.bounds().max > 1:
            yield Finding(
                path,
                f"{name} runs up to {service.bounds().max} copies, and each would have a disk of its own: "
                "write kind: efs, which they share, or count: 1",
            )


def spare_capacity(manifest: Manifest) -> Iterator[Finding]:
    """Spare capacity serves what may stop for a while: several copies, or an environment that is stopped anyway."""
    passing = manifest.template or manifest.schedule is not None
    for task in tasks(manifest):
        if not task.spot:
            continue
        if manifest.compute != "fargate":
            yield Finding(
                (*task.path, "spot"), f"compute: {manifest.compute} runs on instances of its own: remove spot"
            )
        elif task.public and task.scale.min < 2 and not passing:
            yield Finding(
                (*task.path, "spot"),
                f"AWS takes spare capacity back, and {task.name} may have one copy only, so users would wait until "
                "another one starts: write scale: {min: 2}, or remove spot",
            )


def fits_instance(manifest: Manifest) -> Iterator[Finding]:
    """Each task fits an instance, and the least number of copies fits all instances together."""
    if manifest.compute == "fargate":
        return
    capacity = manifest.capacity
    room = room_of(capacity.instance, _SHARE[manifest.compute])
    if room is None:
        return
    running = tuple(tasks(manifest))
    for task in running:
        if not room.holds(task.cpu, task.memory_mib):
            yield Finding(
                task.path,
                f"{task.name} asks for {task.cpu} CPU units and {task.memory_mib} MiB, and a {capacity.instance} has "
                f"{room.cpu} and {room.memory_mib} MiB for tasks, so it would wait forever: write a larger "
                "capacity.instance, or a smaller size",
            )
    least = Room(
        sum(task.cpu * task.scale.min for task in running), sum(task.memory_mib * task.scale.min for task in running)
    )
    whole = room.times(capacity.max)
    if not whole.holds(least.cpu, least.memory_mib):
        yield Finding(
            ("capacity", "max"),
            f"the copies that always run ask for {least.cpu} CPU units and {least.memory_mib} MiB, and "
            f"{capacity.max} × {capacity.instance} have {whole.cpu} and {whole.memory_mib} MiB: write a larger max, "
            "or a larger instance",
        )


def kubernetes(manifest: Manifest) -> Iterator[Finding]:
    """What EKS asks for, and what it does not have."""
    if manifest.compute != "eks":
        return
    if manifest.network.azs < 2 and manifest.network.vpc is None:
        yield Finding(("network", "azs"), "EKS puts its control plane into two zones: write azs: 2 or more")
    for name, service in manifest.services.items():
        if service.volume is not None and service.volume.kind == "efs":
            yield Finding(
                ("services", name, "volume"),
                "the driver that mounts EFS is none of the cluster's add-ons: keep the data in a store, or write "
                "compute: fargate",
            )
    for task in tasks(manifest):
        if task.scale.min == 0 and task.scale.max > 1:
            yield Finding(
                (*task.path, "scale", "min"), "Kubernetes wakes nothing that has no copy at all: write min: 1 or more"
            )
        if task.scale.predictive:
            yield Finding(
                (*task.path, "scale", "predictive"),
                "Kubernetes does not scale ahead of what is coming: remove predictive, or write a schedule",
            )
    if manifest.delivery.strategy == "blue-green":
        yield Finding(
            ("delivery", "strategy"), "blue-green is done by ECS: write strategy: rolling, which EKS does by itself"
        )


def _memory_of(cpu: int) -> tuple[int, ...]:
    if cpu not in _FARGATE_MEMORY:
        return (512, 1024, 2048)
    least, most, step = _FARGATE_MEMORY[cpu]
    return tuple(range(least, most + 1, step))
