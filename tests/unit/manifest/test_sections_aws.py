"""What the sections accept and refuse that describe the platform on AWS, with the message a person reads."""

from collections.abc import Callable

import pytest

from slipway.manifest import Document
from slipway.manifest.sections.monitoring import channel_of

WEB = "image: ./web, port: 80"
VPC = "vpc: vpc-0123456789abcdef0"
SUBNETS = "[subnet-0123456789abcdef0, subnet-0123456789abcdef1]"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b"
DOMAIN = "name: ai.example.com, zone_id: Z0123456789EXAMPLE"
EXACT = "public: [10.0.1.0/24, 10.0.2.0/24], private: [10.0.3.0/24, 10.0.4.0/24]"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        # scale
        ("components: {chat: {scale: {min: 3, max: 2}}}", "components.chat.scale", "write a max of at least 3"),
        ("components: {chat: {scale: {cpu: 120%}}}", "components.chat.scale", "cpu above 100% is never passed"),
        (
            "components: {chat: {scale: {sustained: 90s}}}",
            "components.chat.scale",
            "sustained is counted in whole minutes",
        ),
        (
            "components: {chat: {scale: {schedule: [{at: '07:00 UTC', min: 4, max: 3}]}}}",
            "components.chat.scale.schedule.0",
            "write a max of at least 4",
        ),
        ("components: {chat: {scale: {latency: 2}}}", "components.chat.scale.latency", "2 lacks its unit"),
        # services
        (
            f"services: {{web: {{{WEB}, count: 4, scale: {{max: 3}}}}}}",
            "services.web",
            "count is 4, outside scale 1 to 3",
        ),
        (f"services: {{web: {{{WEB}, user: 0}}}}", "services.web.user", "0 is too small: write at least 1"),
        (f"services: {{web: {{{WEB}, health: up}}}}", "services.web.health", "write a path, like /health"),
        (
            f"services: {{web: {{{WEB}, environment: {{API_KEY: x}}}}}}",
            "services.web.environment.API_KEY",
            "API_KEY reads like a secret, and what stands here is plain text: write the name under `secrets`",
        ),
        (
            f"services: {{web: {{{WEB}, environment: {{a: x}}}}}}",
            "services.web.environment.a",
            "the name of a variable",
        ),
        (
            f"services: {{web: {{{WEB}, environment: {{MODE: x}}, secrets: [MODE]}}}}",
            "services.web",
            "MODE stands under environment and under secrets: remove one",
        ),
        (
            f"services: {{web: {{{WEB}, secrets: [sk-12345]}}}}",
            "services.web.secrets.0",
            "not the name of an environment",
        ),
        (
            f"services: {{web: {{{WEB}, volume: {{kind: nfs, path: /a}}}}}}",
            "services.web.volume.kind",
            "`nfs` is not one of",
        ),
        (
            f"services: {{web: {{{WEB}, volume: {{kind: efs, path: a}}}}}}",
            "services.web.volume.path",
            "a folder in the container",
        ),
        (
            f"services: {{web: {{{WEB}, volume: {{kind: efs, path: /tmp}}}}}}",
            "services.web",
            "/tmp is the volume and under scratch, empty at each start",
        ),
        # dependencies
        ("dependencies: {db: {kind: mongodb, secret: DB_URL}}", "dependencies.db.port", "this key is required"),
        ("dependencies: {db: {kind: mongodb, port: 27017}}", "dependencies.db.secret", "this key is required"),
        (
            "dependencies: {db: {kind: mongodb, port: 27017, secret: 'mongodb://u:p@h'}}",
            "dependencies.db.secret",
            "this is not the name of an environment variable",
        ),
        (
            "dependencies: {db: {kind: mongodb, port: 27017, secret: DB_URL, cidrs: [10.0.0.1/24]}}",
            "dependencies.db.cidrs.0",
            "write one like 10.0.1.0/24, whose last bits are 0",
        ),
        # network
        (f"network: {{{VPC}}}", "network", "write subnets: {private: [subnet-…, subnet-…]}, one a zone"),
        (f"network: {{{VPC}, subnets: {{private: {SUBNETS}}}, nat: none}}", "network", "remove nat"),
        (
            f"network: {{{VPC}, subnets: {{private: [10.0.1.0/24, 10.0.2.0/24]}}}}",
            "network",
            "are ids, like subnet-0123456789",
        ),
        (
            f"network: {{{VPC}, subnets: {{private: {SUBNETS}, public: [subnet-0123456789abcdef2]}}}}",
            "network",
            "subnets.public has 1: write one in each of at least two zones, in each tier the same",
        ),
        (
            f"network: {{{VPC}, subnets: {{private: [subnet-0123456789abcdef0, subnet-0123456789abcdef0]}}}}",
            "network",
            "subnets.private names a subnet twice",
        ),
        ("network: {tiers: [public]}", "network", "containers stand in private subnets: add private to tiers"),
        ("network: {endpoints: [s3, s3]}", "network", "an endpoint stands twice"),
        ("network: {endpoints: [s4]}", "network.endpoints.0", "`s4` is not one of s3, dynamodb,"),
        (f"network: {{azs: 3, subnets: {{{EXACT}}}}}", "network", "subnets.public has 2 for 3 zones: write one a zone"),
        (
            f"network: {{cidr: 10.1.0.0/16, subnets: {{{EXACT}}}}}",
            "network",
            "10.0.1.0/24 lies outside the VPC's 10.1.0.0/16",
        ),
        (
            "network: {subnets: {public: [10.0.0.0/20, 10.0.8.0/24], private: [10.0.32.0/24, 10.0.33.0/24]}}",
            "network",
            "the subnets 10.0.0.0/20 and 10.0.8.0/24 overlap",
        ),
        (
            "network: {subnets: {public: [10.0.0.0/29, 10.0.8.0/24], private: [10.0.32.0/24, 10.0.33.0/24]}}",
            "network",
            "a subnet of /29 is not to be had: AWS makes /16 to /28",
        ),
        (
            "network: {subnets: {public: [10.0.0.1/24, 10.0.8.0/24], private: [10.0.32.0/24, 10.0.33.0/24]}}",
            "network",
            "'10.0.0.1/24' is not a range of IPv4 addresses",
        ),
        (
            f"network: {{tiers: [public, private, isolated], subnets: {{{EXACT}}}}}",
            "network",
            "subnets has public, private and tiers has public, private, isolated: state the same in both",
        ),
        # capacity
        ("capacity: {min: 3, max: 2}", "capacity", "write a max of at least 3"),
        ("capacity: {target: 150%}", "capacity", "target is 1% to 100%"),
        ("capacity: {disk: 8GiB}", "capacity", "disk is at least 30GiB"),
        ("capacity: {instance: medium}", "capacity.instance", "write a type of instance, like t3.medium"),
        ("capacity: {kubernetes: 1.35}", "capacity.kubernetes", "a text is due here, not 1.35: write it in quotes"),
        ("capacity: {kubernetes: '2.0'}", "capacity.kubernetes", "a version of Kubernetes in quotes"),
        # edge
        ("edge: {domain: {name: ai.example.com}}", "edge.domain.zone_id", "this key is required"),
        ("edge: {domain: {name: AI, zone_id: Z0123456789EXAMPLE}}", "edge.domain.name", "a domain in lower case"),
        (f"edge: {{domain: {{{DOMAIN}, console: ai.example.com}}}}", "edge.domain", "cannot answer at one name"),
        (f"edge: {{domain: {{{DOMAIN}, cdn_certificate: '{CERTIFICATE}'}}}}", "edge.domain", "is not in us-east-1"),
        ("edge: {cors: ['*']}", "edge.cors.0", "`*` would let every site in"),
        ("edge: {cors: ['http://app.example.com']}", "edge.cors.0", "http of localhost"),
        ("edge: {waf_rate: 5}", "edge.waf_rate", "5 is too small: write at least 10"),
        ("edge: {tls: '1.1'}", "edge.tls", "`1.1` is not one of 1.3, 1.2"),
        # data
        ("data: {postgres: {monitoring_every: 20s}}", "data.postgres", "monitoring_every is one of 0s, 1s, 5s"),
        ("data: {postgres: {point_in_time: 36h}}", "data.postgres", "point_in_time is 1d to 35d"),
        ("data: {objects: {infrequent_after: 7d}}", "data.objects", "infrequent_after is 30d to 3650d"),
        (
            "data: {objects: {infrequent_after: 80d, archive_after: 90d}}",
            "data.objects",
            "archive_after is 110d to 3650d",
        ),
        ("data: {objects: {versions_kept: 90m}}", "data.objects", "versions_kept is 1d to 3650d"),
        ("data: {redis: {node: t4g.micro}}", "data.redis.node", "a type of cache node, like cache.t4g.small"),
        ("data: {neptune: {point_in_time: 36d}}", "data.neptune", "point_in_time is 1d to 35d"),
        ("data: {log_domain: {nodes: 5}}", "data.log_domain", "5 nodes cannot be shared out evenly"),
        ("data: {log_domain: {disk: 5GiB}}", "data.log_domain", "disk is at least 10GiB"),
        ("data: {keys: {rotate_every: 30d}}", "data.keys", "rotate_every is 90d to 2560d"),
        ("data: {dynamodb: {point_in_time: 40d}}", "data.dynamodb", "point_in_time is 1d to 35d"),
        ("data: {dynamodb: {tables: {t: {range: at}}}}", "data.dynamodb.tables.t.hash", "this key is required"),
        (
            "data: {dynamodb: {tables: {t: {hash: a, range: a}}}}",
            "data.dynamodb.tables.t",
            "hash and range are one attribute",
        ),
        (
            "data: {dynamodb: {tables: {t: {hash: a, numbers: [b]}}}}",
            "data.dynamodb.tables.t",
            "numbers has b, which is in no key",
        ),
        (
            "data: {dynamodb: {tables: {t: {hash: a, range: at, ttl: at}}}}",
            "data.dynamodb.tables.t",
            "ttl is a number: add at to numbers",
        ),
        ("data: {dynamodb: {tables: {T: {hash: a}}}}", "data.dynamodb.tables.T", "like usage_plans"),
        # identity
        ("identity: {user_pool: {access_token: 2m}}", "identity.user_pool", "access_token is 5m to 1d"),
        ("identity: {user_pool: {refresh_token: 30m}}", "identity.user_pool", "refresh_token is 1h to 10y"),
        ("identity: {user_pool: {domain_prefix: my-aws}}", "identity.user_pool", "which Cognito refuses"),
        ("identity: {user_pool: {callbacks: ['http://a.example']}}", "identity.user_pool", "a callback is https"),
        # monitoring
        ("monitoring: {notify: {critical: [nobody]}}", "monitoring.notify.critical.0", "nobody is reached by this"),
        ("monitoring: {notify: {warning: ['+12025550143']}}", "monitoring.notify", "a warning wakes nobody"),
        (
            "monitoring: {notify: {critical: ['https://events.example/integration/abc123']}}",
            "monitoring.notify.critical.0",
            "the NAME of a secret with a pager's URL",
        ),
        (
            "monitoring: {log_retention: 8d}",
            "monitoring",
            "CloudWatch does not keep logs for 8d: write log_retention: 14d",
        ),
        ("monitoring: {synthetic_every: 30s}", "monitoring", "synthetic_every is whole minutes, 1m to 1h"),
        ("monitoring: {objectives: {availability: 100%}}", "monitoring.objectives", "100% would leave no failure"),
        (
            "monitoring: {objectives: {utilization: [80%, 60%]}}",
            "monitoring.objectives",
            "low and high, like [60%, 80%]",
        ),
        (
            "monitoring: {objectives: {utilization: [80%]}}",
            "monitoring.objectives.utilization",
            "write at least 2 of them",
        ),
        ("monitoring: {objectives: {window: 1y}}", "monitoring.objectives", "window is 1d to 90d"),
        ("monitoring: {alarms: {disk: 101%}}", "monitoring.alarms", "disk above 100% would never fire"),
        # delivery, audit, budget, agents, workflows
        ("delivery: {account: 123456789012}", "delivery.account", "a text is due here, not 123456789012"),
        ("delivery: {account: '1234'}", "delivery.account", "the 12 digits of an AWS account"),
        ("delivery: {github: example}", "delivery.github", "owner and name of a repository, like acme/platform"),
        ("delivery: {strategy: canary}", "delivery.strategy", "`canary` is not one of rolling, blue-green"),
        ("audit: {keep: 36h}", "audit", "keep is whole days"),
        ("budget: {alert_at: [1%, 2%, 3%, 4%, 5%, 6%]}", "budget.alert_at", "write at most 5 of them"),
        ("agents: {instruction: help}", "agents.instruction", "at least 40 characters are due here"),
        ("workflows: {ingestion: {limit: 10s}}", "workflows", "the limit of ingestion is 1m to 1y"),
        ("workflows: {engine: airflow}", "workflows.engine", "`airflow` is not one of built-in, step-functions"),
        ("features: {new-search: 'on'}", "features.new-search", "write true or false"),
    ],
)
def test_each_refusal_names_the_place_and_says_what_to_write(problems, text: str, place: str, message: str) -> None:
    told = problems(text)
    assert len(told) == 1, told
    assert told[0].split(" ", 1)[1].startswith(f"{place}: ")
    assert message in told[0]


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("mongodb://me:hunter2@db.example/app", "hunter2"),
        ("redis://:hunter2@cache:6379", "hunter2"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("-----BEGIN RSA PRIVATE KEY----- abc", "BEGIN RSA"),
    ],
)
def test_a_credential_in_plain_text_is_refused_and_never_repeated(problems, value: str, secret: str) -> None:
    told = problems(f"services: {{web: {{{WEB}, environment: {{SOMEWHERE: '{value}'}}}}}}")
    assert len(told) == 1
    assert "services.web.environment.SOMEWHERE: this carries a credential" in told[0]
    assert secret not in told[0]
    plain = "'https://api.example:8443/v1?at=me@example.com'"
    assert problems(f"services: {{web: {{{WEB}, environment: {{SOMEWHERE: {plain}}}}}}}") == []


def test_a_pagers_url_is_never_repeated(problems) -> None:
    told = problems("monitoring: {notify: {critical: ['https://events.example/integration/abc123']}}")
    assert "abc123" not in told[0]


def test_how_an_address_is_reached() -> None:
    assert [channel_of(address) for address in ("a@example.com", "+12025550143", "PAGER_URL")] == [
        "email",
        "sms",
        "pager",
    ]


def test_one_zone_has_subnets_in_two(document: Callable[[str], Document]) -> None:
    network = document("network: {azs: 1}").loaded(None).manifest.network
    assert (network.azs, network.subnet_zones, network.present_tiers) == (1, 2, ("public", "private"))


def test_exact_subnets_are_taken_as_they_stand(document: Callable[[str], Document]) -> None:
    network = document(f"network: {{subnets: {{{EXACT}}}}}").loaded(None).manifest.network
    assert network.subnets is not None
    assert network.subnets.tiers() == {
        "public": ("10.0.1.0/24", "10.0.2.0/24"), "private": ("10.0.3.0/24", "10.0.4.0/24"),
    }  # fmt: skip


def test_a_vpc_that_exists_has_the_tiers_and_zones_of_its_subnets(document: Callable[[str], Document]) -> None:
    text = f"network: {{{VPC}, subnets: {{private: {SUBNETS}}}}}\nedge: {{api_gateway: true}}"
    network = document(text).loaded(None).manifest.network
    assert (network.present_tiers, network.subnet_zones) == (("private",), 2)


def test_a_service_runs_its_count_or_within_its_scale(document: Callable[[str], Document]) -> None:
    services = document(
        f"services: {{a: {{{WEB}, count: 2}}, b: {{image: ./b, port: 81, scale: {{min: 2, max: 5}}}}}}"
    ).loaded(None).manifest.services  # fmt: skip
    assert [(each.bounds().min, each.bounds().max) for each in services.values()] == [(2, 2), (2, 5)]


def test_scaling_has_the_targets_of_the_documents_by_default(document: Callable[[str], Document]) -> None:
    scale = document("components: {chat: {}}").loaded(None).manifest.component("chat").scale
    assert (scale.min, scale.max, str(scale.cpu), str(scale.memory)) == (1, 10, "70%", "80%")
    assert (scale.requests_per_minute, str(scale.latency), str(scale.sustained)) == (1000, "2s", "2m")


def test_a_table_knows_the_attributes_of_its_keys(document: Callable[[str], Document]) -> None:
    tables = document(
        "data: {dynamodb: {tables: {logs: {hash: tenant, range: at, numbers: [at], ttl: expires, "
        "indexes: {by_model: {hash: model, range: at}}}}}}"
    ).loaded(None).manifest.data.dynamodb.tables  # fmt: skip
    assert tables["logs"].key_attributes() == ("at", "model", "tenant")


def test_limits_of_workflows_keep_their_own_defaults(document: Callable[[str], Document]) -> None:
    workflows = (
        document("workflows: {retraining: {retries: 5}, ingestion: {retries: 1}}").loaded(None).manifest.workflows
    )
    assert (str(workflows.ingestion.limit), str(workflows.retraining.limit)) == ("15m", "2h")
