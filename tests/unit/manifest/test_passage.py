"""The way in and the way out, agents of Bedrock, and names: rules that span sections."""

import pytest

DOMAIN = "domain: {name: a.example.com, zone_id: Z0123456789EXAMPLE}"
WEB = "image: ./web, port: 80"
ENDPOINTS = "s3, dynamodb, ecr, logs, secrets"
CLOSED = f"network: {{nat: none, endpoints: [{ENDPOINTS}]}}\n"
CLAUDE = "claude: {provider: bedrock, id: global.anthropic.claude-sonnet-4-6}"


def told(problems, text: str) -> str:
    found = problems(text)
    assert len(found) == 1, found
    return found[0].split(" ", 1)[1]


def test_without_nat_there_is_an_endpoint_for_all_that_is_called(problems) -> None:
    assert told(problems, "network: {nat: none}") == (
        "network.nat: without a NAT gateway nothing reaches ecr, logs, secrets: write endpoints: "
        "[s3, dynamodb, ecr, logs, secrets], or nat: single"
    )
    assert problems(CLOSED) == []
    assert problems("network: {nat: none, tiers: [private], endpoints: [s3, ecr, logs, secrets]}") == []
    assert "nothing reaches ecs:" in told(problems, f"{CLOSED}compute: ec2\ncapacity: {{instance: m5.xlarge}}")
    assert "nothing reaches ssm:" in told(problems, f"{CLOSED}bastion: {{}}")
    assert "nothing reaches bedrock:" in told(problems, f"{CLOSED}models: {{available: {{{CLAUDE}}}}}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "models: {available: {a: {provider: anthropic, id: x, api_key_env: A_KEY}}}",
            "models.available.a: `a` is served on the internet",
        ),
        ("models: {available: {a: {provider: openai, id: x, base_url: 'http://8.8.8.8/v1'}}}", "models.available.a: "),
        ("models: {available: {a: {provider: openai, id: x, base_url: 'http://10.1.2.3/v1'}}}", None),
        ("models: {available: {a: {provider: openai, id: x, base_url: 'http://llm.internal:8000/v1'}}}", None),
        (
            "dependencies: {db: {kind: mongodb, port: 27017, secret: DB_URL}}",
            "dependencies.db: db may lie on the internet",
        ),
        ("dependencies: {db: {kind: mongodb, port: 27017, secret: DB_URL, cidrs: [8.8.0.0/16]}}", "dependencies.db: "),
        ("dependencies: {db: {kind: mongodb, port: 27017, secret: DB_URL, cidrs: [10.9.0.0/16]}}", None),
        ("identity: {user_pool: {}}", "network.nat: the keys of issuers are fetched over the internet"),
        ("identity: {issuers: [{issuer: 'https://id.example', audience: a}]}", "network.nat: the keys of issuers"),
    ],
)
def test_without_nat_nothing_that_is_called_lies_on_the_internet(problems, text: str, message: str | None) -> None:
    assert problems(text) == []
    if message is None:
        assert problems(CLOSED + text) == []
    else:
        assert told(problems, CLOSED + text).startswith(message)


def test_a_store_of_vectors_that_aws_would_not_get_is_refused_where_there_is_a_region(problems) -> None:
    assert problems("data: {search: qdrant}") == []
    message = told(problems, "data: {search: qdrant}\nregion: us-east-1")
    assert message.startswith("data.search: Slipway makes no Qdrant on AWS: write search: pgvector or opensearch")
    [of_prod] = problems("data: {search: qdrant}\nenvironments: {prod: {region: us-east-1}}")
    assert "data.search: Slipway makes no Qdrant on AWS" in of_prod


def test_the_load_balancer_has_a_certificate_before_it_faces_the_internet(problems) -> None:
    message = told(problems, "edge: {api_gateway: false}")
    assert message.startswith("edge.domain: without api_gateway the load balancer faces the internet")
    assert problems(f"edge: {{api_gateway: false, {DOMAIN}}}") == []
    inside = f"components: {{}}\ndata: {{postgres: null}}\nservices: {{web: {{{WEB}}}}}\nedge: {{api_gateway: false}}"
    assert problems(inside) == []


def test_the_load_balancer_stands_in_public_subnets_before_it_faces_the_internet(problems) -> None:
    closed = "network: {nat: none, tiers: [private], endpoints: [s3, ecr, logs, secrets]}\n"
    message = told(problems, f"{closed}edge: {{api_gateway: false, {DOMAIN}}}")
    assert message.startswith("network.tiers: without api_gateway the load balancer faces the internet")
    subnets = "private: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]"
    existing = f"network: {{vpc: vpc-0123456789abcdef0, subnets: {{{subnets}}}}}\n"
    assert told(problems, f"{existing}edge: {{api_gateway: false, {DOMAIN}}}").startswith("network.subnets: ")
    assert problems(existing) == []


def test_a_certificate_lies_in_the_region_that_uses_it(problems) -> None:
    arn = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b"
    text = f"edge: {{domain: {{name: a.example.com, zone_id: Z0123456789EXAMPLE, certificate: '{arn}'}}}}\nregion: "
    assert problems(f"{text}eu-west-1") == []
    assert "edge.domain.certificate: the certificate lies in eu-west-1" in told(problems, f"{text}us-east-1")


def test_a_firewall_stands_before_something(problems) -> None:
    nothing = "components: {}\ndata: {postgres: null}\n"
    assert told(problems, f"{nothing}edge: {{waf: true}}").startswith("edge.waf: nothing is served to the internet")
    assert problems(f"{nothing}edge: {{waf: true, cdn: true}}") == []
    assert problems("edge: {waf: true}") == []


def test_what_api_gateway_does_not_let_through_is_not_promised(problems) -> None:
    message = told(problems, "monitoring: {alarms: {latency: 29s}}")
    assert message.startswith("monitoring.alarms.latency: API Gateway gives an answer up after 29s")
    assert problems(f"monitoring: {{alarms: {{latency: 29s}}}}\nedge: {{api_gateway: false, {DOMAIN}}}") == []
    assert problems("monitoring: {alarms: {latency: 28999ms}}") == []
    message = told(problems, "plans: {big: {requests_per_second: 1001}}")
    assert message.startswith("plans.big.requests_per_second: 1001 requests per second are promised, and edge.throttle")
    assert problems("plans: {big: {requests_per_second: 1000}}") == []


def test_a_failover_has_somewhere_to_go_and_a_name_that_leads_there(problems) -> None:
    found = problems("recovery: {failover: true}")
    assert len(found) == 2
    assert "clients follow a failover by the domain's name, and there is none" in found[0]
    assert "there is no region to fail over to: write recovery.region" in found[1]
    assert problems(f"recovery: {{failover: true, region: us-west-2}}\nedge: {{{DOMAIN}}}") == []


def test_tables_are_copied_to_a_region_that_there_is(problems) -> None:
    message = told(problems, "data: {dynamodb: {copy_to_recovery_region: true}}")
    assert message.startswith("data.dynamodb.copy_to_recovery_region: there is no recovery region to copy to")


def test_an_agent_of_bedrock_thinks_with_a_model_of_bedrock(problems) -> None:
    agent = "agents: {bedrock_agent: true}\n"
    assert told(problems, agent) == (
        "agents.bedrock_agent: an agent of Bedrock thinks with a chat model of Bedrock, and `extractive` is none: "
        "add a model of provider bedrock"
    )
    assert told(problems, f"{agent}models: {{available: {{{CLAUDE}}}}}").endswith("write agents.model: claude")
    assert problems(f"{agent}models: {{default: claude, available: {{{CLAUDE}}}}}") == []
    named = "agents: {bedrock_agent: true, model: %s}\n" + f"models: {{available: {{{CLAUDE}}}}}"
    assert problems(named % "claude") == []
    assert told(problems, named % "clod").startswith("agents.model: an agent of Bedrock")


def test_a_knowledge_base_has_documents(problems) -> None:
    base = "agents: {knowledge_base: {}}\ncomponents: {identity: {}}\n"
    assert problems(base) == []
    for objects in ("null", "{endpoint_url: https://minio.example.com}"):
        assert told(problems, f"{base}data: {{objects: {objects}}}").startswith(
            "agents.knowledge_base: a knowledge base reads its documents from S3"
        )
    external = "postgres: {engine: external, url_env: DATABASE_URL}"
    assert problems(f"{base}data: {{{external}}}") == []
    elsewhere = "data: {search: bedrock-kb, objects: {endpoint_url: https://minio.example.com}}"
    assert told(problems, elsewhere).startswith("data.search: a knowledge base reads its documents from S3")


def test_without_a_nat_gateway_a_knowledge_base_is_asked_by_its_endpoint(problems) -> None:
    network = "network: {nat: none, endpoints: [s3, ecr, logs, secrets%s]}\nedge: {api_gateway: true}\n"
    base = "agents: {knowledge_base: {}}\n"
    assert "nothing reaches bedrock-agent: write" in told(problems, base + network % "")
    assert problems(base + network % ", bedrock-agent") == []


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "dimensions: 768",
            "makes vectors of 256 or 512 or 1024 numbers: write dimensions: 1024",
        ),
        ("embeddings: cohere.embed-english-v3, chunk_tokens: 513", "cohere.embed-english-v3 reads 512 tokens at most"),
        ("overlap: 0%", "overlap is a whole percentage of 1% to 99%"),
        ("overlap: 100%", "overlap is a whole percentage of 1% to 99%"),
        ("overlap: 12.5%", "overlap is a whole percentage of 1% to 99%"),
        ("prefix: services/docs/", "services of yours keep their objects below services/: choose another"),
        ("refresh: 14m", "refresh is 15m to 30d, in whole minutes"),
        ("refresh: 31d", "refresh is 15m to 30d, in whole minutes"),
        ("refresh: 901s", "refresh is 15m to 30d, in whole minutes"),
        ("prefix: /docs", "a folder of a bucket that ends in a slash, like knowledge-base/"),
    ],
)
def test_a_knowledge_base_of_numbers_that_do_not_fit_is_refused(problems, written: str, message: str) -> None:
    assert message in told(problems, f"agents: {{knowledge_base: {{{written}}}}}")


def test_numbers_of_a_knowledge_base_may_be_at_their_ends(problems) -> None:
    least = "agents: {knowledge_base: {dimensions: 256, overlap: 1%, refresh: 15m, chunk_tokens: 1}}"
    most = "agents: {knowledge_base: {dimensions: 1024, overlap: 99%, refresh: 30d, chunk_tokens: 8192}}"
    assert problems(least) == problems(most) == []
    assert problems("agents: {knowledge_base: {embeddings: some.model-of-tomorrow, dimensions: 4096}}") == []


@pytest.mark.parametrize(
    ("needs", "accepted"),
    [
        ("usage_plans", True), ("dynamodb", True), ("mongodb", True), ("neptune", True), ("opensearch", True),
        ("qdrant", False), ("usage_logs", False),
    ],
)  # fmt: skip
def test_services_need_tables_dependencies_graph_and_search(problems, needs: str, accepted: bool) -> None:
    text = (
        "data: {graph: neptune, search: opensearch, dynamodb: {tables: {usage_plans: {hash: plan}}}}\n"
        "dependencies: {mongodb: {kind: mongodb, port: 27017, secret: MONGODB_URL}}\n"
        f"services: {{web: {{{WEB}, needs: [{needs}]}}}}"
    )
    assert (problems(text) == []) is accepted


@pytest.mark.parametrize(
    ("store", "instead"),
    [
        ("dynamodb", "write tables under data.dynamodb"),
        ("neptune", "write `graph: neptune` under data"),
        ("opensearch", "write `search: opensearch` under data"),
        ("redis", "write `redis: {}` under data"),
    ],
)
def test_a_store_that_is_not_there_is_told_with_what_brings_it(problems, store: str, instead: str) -> None:
    assert told(problems, f"services: {{web: {{{WEB}, needs: [{store}]}}}}").endswith(instead)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"dependencies: {{web: {{kind: http, port: 443, secret: A_KEY}}}}\nservices: {{web: {{{WEB}}}}}",
            "dependencies.web: `web` is already a service under services",
        ),
        (
            "dependencies: {gateway: {kind: http, port: 443, secret: A_KEY}}",
            "dependencies.gateway: `gateway` is already a component of the catalog",
        ),
        (
            f"data: {{dynamodb: {{tables: {{web: {{hash: a}}}}}}}}\nservices: {{web: {{{WEB}}}}}",
            "data.dynamodb.tables.web: `web` is already a service under services",
        ),
        (
            f"data: {{search: qdrant}}\nservices: {{qdrant: {{{WEB}}}}}",
            "services.qdrant: `qdrant` is already a store under data",
        ),
        (
            f"services: {{a: {{{WEB}, discovery: b}}, b: {{image: ./b, port: 81}}}}",
            "services.b.discovery: b already leads to the service a",
        ),
        (
            f"services: {{a: {{{WEB}, discovery: gateway}}}}",
            "services.a.discovery: gateway already leads to a component",
        ),
    ],
)
def test_a_name_means_one_thing(problems, text: str, message: str) -> None:
    assert told(problems, text).startswith(message)
