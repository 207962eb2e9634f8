"""Everything that may run at once has an address in its subnet, and on EC2 an interface of its instance."""

import pytest

from slipway.manifest.instances import interfaces_of
from slipway.manifest.loading import build
from slipway.manifest.rules.room import ceiling

WEB = "image: ./web, port: 80"
NONE = "components: {}\ndata: {postgres: null}\n"
SMALL = "network: {cidr: 10.0.0.0/24}\n"


def told(problems, text: str) -> str:
    found = problems(text)
    assert len(found) == 1, found
    return found[0].split(" ", 1)[1]


def test_a_subnet_has_an_address_for_each_copy_and_for_what_stands_beside_them(problems) -> None:
    message = told(problems, SMALL)
    # Five components of up to ten copies, ten more during a deployment, over two zones.
    assert message == (
        "network.cidr: the private subnet 10.0.0.64/28 has 11 addresses (5 more are AWS's own), and up to 42 are "
        "asked for in one zone: 30 by copies of containers, 8 by a load balancer, 2 by functions, 1 by API Gateway's "
        "link, 1 by PostgreSQL. Write larger ranges, more azs, or a smaller scale.max"
    )
    assert problems("network: {cidr: 10.0.0.0/21}") == []
    assert problems("network: {cidr: 10.0.0.0/20}") == []


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", 121),  # 2 × 120 / 2 zones, one function group more
        ("network: {cidr: 10.0.0.0/22, azs: 3}\n", 82),
        ("bastion: {}\n", 122),
        ("network: {cidr: 10.0.0.0/22, endpoints: [s3, ecr, logs, secrets]}\n", 125),
        ("network: {cidr: 10.0.0.0/22, endpoints: [s3, dynamodb]}\n", 121),
        ("edge: {api_gateway: true}\n", 122),
        ("data: {postgres: null, redis: {multi_az: true}}\n", 122),
        ("data: {postgres: null, logs: opensearch, log_domain: {nodes: 4}}\n", 127),
        ("compute: ec2\ncapacity: {instance: m9x.large, max: 40}\n", 141),
    ],
)
def test_what_takes_addresses_is_counted(problems, text: str, asked: int) -> None:
    base = {"components": "{}", "data": "{postgres: null}", "edge": "{api_gateway: false}"}
    base |= {"network": "{cidr: 10.0.0.0/22}"}
    stated = {line.split(":")[0] for line in text.splitlines()}
    lines = [f"{key}: {value}" for key, value in base.items() if key not in stated]
    service = f"services: {{web: {{{WEB}, scale: {{max: 119}}, count: 1}}}}"
    message = told(problems, "\n".join([*lines, text.strip(), service, ""]))
    assert f"up to {asked} are asked for in one zone" in message


def test_stated_subnets_are_what_is_counted_with_and_the_smallest_decides(problems) -> None:
    ranges = "subnets: {public: [10.0.1.0/24, 10.0.2.0/24], private: [10.0.3.0/24, 10.0.4.0/%d]}"
    services = f"services: {{web: {{{WEB}, count: 100}}}}\n"

    def text(prefix: int) -> str:
        return f"{NONE}network: {{{ranges % prefix}}}\n{services}"

    assert problems(text(24)) == []
    message = told(problems, text(27))
    assert message.startswith("network.subnets: the private subnet 10.0.4.0/27 has 27 addresses")
    assert "up to 103 are asked for in one zone: 100 by copies of containers" in message


def test_isolated_stores_have_subnets_of_their_own(problems) -> None:
    tiers = "network: {cidr: 10.0.0.0/22, tiers: [public, private, isolated]}\n"
    few = "components: {identity: {scale: {max: 1}}}\n"
    data = "data: {postgres: {readers: 15}, graph: neptune, neptune: {readers: 15}, logs: opensearch, "
    data += "log_domain: {nodes: 8}}"
    message = told(problems, few + tiers + data)
    assert message.startswith("network.cidr: the isolated subnet 10.0.2.0/27 has 27 addresses")
    assert "12 by the log domain, 8 by PostgreSQL, 8 by Neptune" in message


def test_pods_take_addresses_in_blocks_and_nodes_more_than_one(problems) -> None:
    text = (
        "compute: eks\ncapacity: {instance: m5.xlarge, max: 100}\nnetwork: {cidr: 10.0.0.0/%d}\n"
        "components: {identity: {scale: {max: 10}}}\n"
    )
    message = told(problems, text % 20)
    # (20 copies + 12 pods of add-ons) / 16 and one block a node, over two zones; three interfaces a node.
    assert "816 by pods, in blocks, 150 by nodes" in message
    assert problems(text % 16) == []


def test_of_a_network_that_exists_or_is_shared_nothing_is_known(problems) -> None:
    given = "network: {vpc: vpc-0123456789abcdef0, subnets: {private: [subnet-0aaaaaaa1, subnet-0aaaaaaa2]}}\n"
    assert problems(given) == []
    preview = "template: true, ttl: 7d, share: dev"
    shared = f"{NONE}environments:\n  dev: {{}}\n  pre: {{{preview}, services: {{web: {{%s}}}}}}"
    assert problems(shared % f"{WEB}, count: 1000") == []


def test_a_range_without_room_for_its_zones_is_told_before_anything_is_made(problems) -> None:
    text = "components: {}\ndata: {postgres: null}\nnetwork: {cidr: 10.0.0.0/24, azs: %d}\n"
    assert problems(text % 4) == []
    assert told(problems, text % 5).startswith("network.cidr: 10.0.0.0/24 has room for 4 zones, and 5 are asked for")


@pytest.mark.parametrize(
    ("instance", "count"),
    [("t3.micro", 2), ("t3.medium", 3), ("t3a.small", 2), ("m6i.xlarge", 4), ("c7g.4xlarge", 8), ("x9.huge", None)],
)
def test_how_many_interfaces_an_instance_has(instance: str, count: int | None) -> None:
    assert interfaces_of(instance) == count


def test_what_always_runs_finds_an_interface_with_one_to_spare(problems) -> None:
    text = f"{NONE}compute: ec2\nservices: {{web: {{{WEB}, count: %d}}}}\n"
    assert problems(text % 9) == []
    assert told(problems, text % 10) == (
        "capacity.max: 10 copies always run and a deployment starts one more beside them, each with a network "
        "interface of its own, and 5 × t3.medium have 2 of them for tasks each, 10 together: write max: 6, "
        "or a larger instance"
    )
    assert problems("capacity: {max: 6}\n" + text % 10) == []
    assert problems("capacity: {instance: m5.xlarge}\n" + text % 10) == []
    assert problems(f"{NONE}services: {{web: {{{WEB}, count: 10}}}}\n") == []  # Fargate


@pytest.mark.parametrize(
    ("capacity", "scale", "expected"),
    [
        ({}, {"max": 10}, None),
        ({}, {"max": 11}, "scaling may ask for 11 copies, and 5 × t3.medium have network interfaces for 10 (2 each)"),
        ({}, {"max": 2, "schedule": [{"at": "06:30 UTC", "min": 2, "max": 14}]}, "scaling may ask for 14 copies"),
        ({"max": 6}, {"max": 11}, None),
        ({"instance": "x9.huge"}, {"max": 11}, None),
    ],
)
def test_what_scaling_may_ask_for_beyond_the_instances_is_told(capacity: dict, scale: dict, expected) -> None:
    manifest = build(
        {
            "slipway": 1,
            "name": "a",
            "components": {},
            "data": {"postgres": None},
            "compute": "ec2",
            "capacity": capacity,
            "services": {"web": {"image": "./web", "port": 80, "scale": scale}},
        }
    )
    said = ceiling(manifest)
    assert said is None if expected is None else str(said).startswith(expected)
