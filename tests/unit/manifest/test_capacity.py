"""What runs can start: sizes of Fargate, room on instances, disks, spare capacity, EKS."""

import pytest

from slipway.manifest.instances import Room, room_of

DOMAIN = "edge: {domain: {name: a.example.com, zone_id: Z0123456789EXAMPLE}}\n"
WEB = "image: ./web, port: 80"
NONE = "components: {}\ndata: {postgres: null}\n"


def told(problems, text: str) -> str:
    found = problems(text)
    assert len(found) == 1, found
    return found[0].split(" ", 1)[1]


@pytest.mark.parametrize(
    ("cpu", "memory_mib", "instead"),
    [
        (256, 512, None),
        (256, 2048, None),
        (256, 3072, 2048),
        (512, 512, 1024),
        (512, 1024, None),
        (512, 1500, 2048),
        (512, 4096, None),
        (512, 5120, 4096),
        (1024, 1024, 2048),
        (1024, 2048, None),
        (2048, 16384, None),
        (4096, 8192, None),
        (4096, 30720, None),
        (4096, 31744, 30720),
        (8192, 20480, None),
        (8192, 17408, 20480),
        (16384, 32768, None),
        (16384, 36864, 40960),
        (16384, 122880, None),
    ],
)
def test_a_service_on_fargate_has_a_pair_that_fargate_has(problems, cpu: int, memory_mib: int, instead) -> None:
    text = f"services: {{web: {{{WEB}, cpu: {cpu}, memory_mib: {memory_mib}}}}}"
    if instead is None:
        assert problems(text) == []
    else:
        message = told(problems, text)
        assert message.startswith(
            f"services.web.memory_mib: Fargate has no task of {cpu} CPU units and {memory_mib} MiB"
        )
        assert message.endswith(f"write memory_mib: {instead}")


def test_on_instances_any_memory_will_do(problems) -> None:
    assert problems(f"{NONE}compute: ec2\nservices: {{web: {{{WEB}, cpu: 512, memory_mib: 700}}}}") == []


@pytest.mark.parametrize(
    ("compute", "count", "message"),
    [
        ("ec2", 1, None),
        ("ec2", 2, "cache runs up to 2 copies, and each would have a disk of its own: write kind: efs"),
        ("fargate", 1, "compute: fargate gives cache no disk of an instance: write kind: efs, or compute: ec2"),
        ("eks", 1, "compute: eks gives cache no disk of an instance"),
    ],
)
def test_a_host_volume_needs_an_instance_and_one_copy(problems, compute: str, count: int, message) -> None:
    service = f"{{{WEB}, count: {count}, volume: {{kind: host, path: /data}}}}"
    text = f"{NONE}compute: {compute}\nservices: {{cache: {service}}}"
    if message is None:
        assert problems(text) == []
    else:
        assert message in told(problems, text)


def test_spare_capacity_takes_no_only_copy_from_users(problems) -> None:
    one = "components: {chat: {spot: true}}\n"
    assert "components.chat.spot: AWS takes spare capacity back, and chat may have one copy only" in told(problems, one)
    assert problems("components: {chat: {spot: true, scale: {min: 2}}}") == []
    assert problems(f"{one}schedule: {{stop: '22:00 UTC'}}") == []
    assert problems(f"{NONE}services: {{worker: {{{WEB}, spot: true}}}}") == []
    routed = f"{NONE}services: {{web: {{{WEB}, spot: true, route: /*}}}}"
    assert "services.web.spot: AWS takes spare capacity back" in told(problems, routed)
    on_instances = f"{NONE}compute: ec2\nservices: {{worker: {{{WEB}, spot: true}}}}"
    assert "compute: ec2 runs on instances of its own: remove spot" in told(problems, on_instances)


@pytest.mark.parametrize(
    ("compute", "instance", "cpu", "memory_mib", "fits"),
    [
        ("ec2", "t3.medium", 2048, 3700, True),
        ("ec2", "t3.medium", 2048, 3800, False),
        ("ec2", "t3.medium", 4096, 2048, False),
        ("eks", "t3.medium", 1024, 3100, True),
        ("eks", "t3.medium", 1024, 3300, False),
        ("ec2", "c5.xlarge", 4096, 7500, True),
        ("ec2", "x9.huge", 16384, 122880, True),  # unknown here: not checked
    ],
)
def test_a_task_fits_its_instance(problems, compute, instance: str, cpu: int, memory_mib: int, fits: bool) -> None:
    text = (
        f"{NONE}compute: {compute}\ncapacity: {{instance: {instance}}}\n"
        f"services: {{web: {{{WEB}, cpu: {cpu}, memory_mib: {memory_mib}}}}}"
    )
    if fits:
        assert problems(text) == []
    else:
        assert f"services.web: web asks for {cpu} CPU units and {memory_mib} MiB, and a {instance} has" in told(
            problems, text
        )


def test_what_always_runs_fits_all_instances_together(problems) -> None:
    text = (
        f"{NONE}compute: ec2\ncapacity: {{instance: m5.4xlarge}}\n"
        f"services: {{web: {{{WEB}, cpu: 4096, memory_mib: 4096, count: %d}}}}"
    )
    assert problems(text % 20) == []
    message = told(problems, text % 21)
    assert message.startswith(
        "capacity.max: the copies that always run ask for 86016 CPU units and 86016 MiB, and 5 × m5.4xlarge"
    )


def test_components_count_with_their_sizes(problems) -> None:
    text = "compute: eks\ncomponents: {memory: {size: large}}\ncapacity: {instance: %s}\n"
    assert "components.memory: memory asks for 4096 CPU units and 8192 MiB" in problems(text % "t3.medium")[0]
    assert problems(text % "m5.2xlarge") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network: {azs: 1}", "network.azs: EKS puts its control plane into two zones: write azs: 2 or more"),
        (
            "components: {memory: {scale: {predictive: true}}}",
            "components.memory.scale.predictive: Kubernetes does not scale",
        ),
        ("components: {memory: {scale: {min: 0}}}", "components.memory.scale.min: Kubernetes wakes nothing"),
        ("delivery: {strategy: blue-green}", "delivery.strategy: blue-green is done by ECS"),
        (
            f"services: {{web: {{{WEB}, volume: {{kind: efs, path: /data}}}}}}",
            "services.web.volume: the driver that mounts EFS is none of the cluster's add-ons",
        ),
    ],
)
def test_what_eks_has_not(problems, text: str, message: str) -> None:
    assert told(problems, f"compute: eks\n{text}").startswith(message)
    assert problems(text) == []


def test_the_room_of_instances() -> None:
    assert room_of("t3.medium", 1.0) == Room(2048, 4096)
    assert room_of("c5.xlarge", 1.0) == Room(4096, 8192)
    assert room_of("t3.enormous", 1.0) is None
    assert room_of("x9.large", 1.0) is None
    assert Room(2048, 4096).times(3) == Room(6144, 12288)
