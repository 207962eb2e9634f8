"""What each section accepts and refuses, with the message a person reads."""

import pytest

from slipway.manifest.sections.models import MINILM

DIGEST = "a" * 64
COLD = (
    "a backup stays in cold storage at least 90 days (AWS Backup), and 35d ends sooner than that after a move "
    "at 7d: write keep: 97d or more, or remove cold_after and keep it warm"
)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("slipway2: 1", "slipway2", "there is no key `slipway2` here: did you mean `slipway`?"),
        (
            "tenant_claim: ''",
            "tenant_claim",
            "this text does not have the form that is due here: write the name of a claim, like merchant_id",
        ),
        ("tags: {aws:cost: x}", "tags.aws:cost", "tags that begin with aws: belong to AWS"),
        ("tags: {'a#b': x}", "tags.a#b", "`a#b` does not have the form that is due here: write 1 to 128 letters"),
        ("tags: {Owner: }", "tags.Owner", "a text is due here, not nothing"),
        (
            "region: us-east",
            "region",
            "`us-east` does not have the form that is due here: write an AWS region, like us-east-1",
        ),
        ("compute: ec3", "compute", "`ec3` is not one of fargate, ec2, eks (did you mean ec2?)"),
        ("schedule: {start: '07:00 UTC'}", "schedule.stop", "this key is required: When it stops."),
        ("schedule: {stop: 10pm}", "schedule.stop", "'10pm' is not a time of day in UTC: write 22:00 UTC or"),
        # components
        (
            "components: {billing: {}}",
            "components.billing",
            "there is no component `billing`: the catalog has identity,",
        ),
        (
            "components: {chat: }",
            "components.chat",
            "keys and values are due here, not nothing: write {} to take the defaults",
        ),
        ("components: [chat]", "components", "keys and values are due here, not a list"),
        ("components: {chat: {size: huge}}", "components.chat.size", "`huge` is not one of small, medium, large"),
        ("components: {chat: {scale: {min: 1.5}}}", "components.chat.scale.min", "a whole number is due here, not 1.5"),
        (
            "components: {chat: {scale: {min: true}}}",
            "components.chat.scale.min",
            "a whole number is due here, not true",
        ),
        ("components: {chat: {scale: {max: 0}}}", "components.chat.scale.max", "0 is too small: write at least 1"),
        # services
        ("services: {web: {port: 80}}", "services.web.image", "this key is required: A folder to build (./backend)"),
        ("services: {web: {image: nginx, port: 80}}", "services.web.image", "nginx can change under its name"),
        (
            "services: {web: {image: 'nginx:1.27', port: 80}}",
            "services.web.image",
            "an image by digest (name@sha256:…)",
        ),
        (
            "services: {web: {image: ./web, port: 70000}}",
            "services.web.port",
            "70000 is too large: write at most 65535",
        ),
        ("services: {web: {image: ./web, port: '80'}}", "services.web.port", "a whole number is due here, not a text"),
        ("services: {web: {image: ./web, port: 80, cpu: 300}}", "services.web.cpu", "300 is not one of 256, 512, 1024"),
        ("services: {web: {image: ./web, port: 80, route: api}}", "services.web.route", "does not have the form"),
        (
            "services: {web: {image: ./web, port: 80, needs: redis}}",
            "services.web.needs",
            "a list is due here, not a text",
        ),
        (
            "services: {Web: {image: ./web, port: 80}}",
            "services.Web",
            "`Web` does not have the form that is due here: write lower-case words",
        ),
        # plans
        (
            "plans: {free: {tokens_per_month: 1.5M}}",
            "plans.free.tokens_per_month",
            "'1.5M' is not a count: write 250, 10k or 1M",
        ),
        (
            "plans: {free: {budget_per_month: 5}}",
            "plans.free.budget_per_month",
            "5 lacks its unit: write an amount of money",
        ),
        (
            "plans: {free: {budget_per_month: 5 EUR}}",
            "plans.free.budget_per_month",
            "write it in US dollars, like $5 or $0.05",
        ),
        ("plans: {free: {burst: 0}}", "plans.free.burst", "0 is too small: write at least 1"),
        # data
        ("data: {postgres: {engine: mysql}}", "data.postgres.engine", "`mysql` is not one of aurora, external"),
        ("data: {postgres: {engine: external}}", "data.postgres", "an external server needs url_env"),
        ("data: {postgres: {min_acu: 8}}", "data.postgres", "min_acu is above max_acu"),
        ("data: {postgres: {min_acu: 0.7}}", "data.postgres.min_acu", "0.7 is not a multiple of 0.5"),
        ("data: {postgres: {min_acu: much}}", "data.postgres.min_acu", "a number is due here, not a text"),
        ("data: {postgres: {point_in_time: 40d}}", "data.postgres", "point_in_time is 1d to 35d"),
        (
            "data: {postgres: {copy_to_recovery_region: yes}}",
            "data.postgres.copy_to_recovery_region",
            "write true or false",
        ),
        (
            "data: {postgres: {copy_to_recovery_region: true}}",
            "data.postgres.copy_to_recovery_region",
            "there is no recovery region to copy to: write recovery.region, like us-west-2",
        ),
        ("data: {objects: {bucket: My_Bucket}}", "data.objects.bucket", "does not have the form that is due here"),
        ("data: {redis: {url_env: 'redis://:pw@h'}}", "data.redis.url_env", "not the name of an environment variable"),
        ("data: {search: elastic}", "data.search", "`elastic` is not one of pgvector, opensearch, qdrant, bedrock-kb"),
        # network
        ("network: {cidr: 10.0.0.0/8}", "network", "a VPC of /8 is too large: write /16 to /24"),
        ("network: {cidr: 10.0.0.0/28}", "network", "a VPC of /28 is too small"),
        ("network: {cidr: 10.0.0.1/16}", "network", "'10.0.0.1/16' is not a range of IPv4 addresses"),
        ("network: {tiers: [private]}", "network", "a NAT gateway stands in a public subnet"),
        ("network: {tiers: [public, public]}", "network", "a tier stands twice"),
        ("network: {tiers: []}", "network.tiers", "write at least 1 of them"),
        ("network: {vpc: vpc-0123456789abcdef0, azs: 2}", "network", "vpc names a network that exists: remove azs"),
        ("network: {nat: one}", "network.nat", "`one` is not one of none, single, per-az"),
        # edge, identity, monitoring, recovery, budget
        ("edge: {waf: 1}", "edge.waf", "write true or false, not 1"),
        ("edge: {rate: 10}", "edge.rate", "there is no key `rate` here: it stands under `edge.throttle`"),
        ("identity: {mfa: on}", "identity.mfa", "`on` is not one of off, optional, required"),
        (
            "identity: {issuers: [{issuer: id.example, audience: x}]}",
            "identity.issuers.0.issuer",
            "this is not an http(s) URL",
        ),
        (
            "identity: {issuers: [{issuer: 'https://id.example'}]}",
            "identity.issuers.0.audience",
            "this key is required",
        ),
        (
            "monitoring: {alarms: {latency: 5}}",
            "monitoring.alarms.latency",
            "5 lacks its unit: write a duration like 30s",
        ),
        ("monitoring: {alarms: {cpu: 80}}", "monitoring.alarms.cpu", "80 lacks its unit: write a percentage like 80%"),
        ("monitoring: {alarms: {cpu: 120%}}", "monitoring.alarms", "cpu above 100% would never fire"),
        (
            "recovery: {backups: {daily: {keep: 35d, cold_after: 7d}}}",
            "recovery.backups.daily",
            COLD,
        ),
        ("recovery: {backups: {daily: {cold_after: 7d}}}", "recovery.backups.daily.keep", "this key is required"),
        ("recovery: {backups: {daily: 35}}", "recovery.backups.daily", "keys and values are due here, not 35"),
        ("recovery: {backups: {daily: forever}}", "recovery.backups.daily.keep", "'forever' is not a duration"),
        ("recovery: {objectives: {rto: 4h}}", "recovery.objectives.rpo", "this key is required"),
        (
            "recovery: {accepted_gaps: [{store: objects, rpo: 1d}]}",
            "recovery.accepted_gaps.0.why",
            "this key is required",
        ),
        ("budget: {per_month: 300}", "budget.per_month", "300 lacks its unit: write an amount of money like $5, $0.05"),
        ("budget: {alert_at: [0.5]}", "budget.alert_at.0", "0.5 lacks its unit: write a percentage like 80% or 99.9%"),
    ],
)
def test_each_refusal_names_the_place_and_says_what_to_write(problems, text: str, place: str, message: str) -> None:
    told = problems(text)
    assert len(told) == 1, told
    assert told[0].split(" ", 1)[1].startswith(f"{place}: ")
    assert message in told[0]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{provider: openai, id: x}", "a model of provider openai needs a base_url"),
        ("{provider: openai, base_url: 'http://a/v1'}", "needs an id: the provider's own name of the model"),
        ("{provider: bedrock}", "a model of provider bedrock needs an id"),
        ("{provider: bedrock, id: x, api_key_env: A_KEY}", "provider bedrock takes no api_key_env: it signs with"),
        ("{provider: extractive, base_url: 'http://a/v1'}", "provider extractive takes no base_url and no api_key_env"),
        ("{provider: anthropic}", "a model of provider anthropic needs an id"),
        ("{provider: anthropic, id: x, kind: embeddings}", "provider anthropic has no embeddings"),
        ("{provider: anthropic, id: x, region: us-east-1}", "provider anthropic takes no region"),
        ("{provider: bedrock, id: x, region: here}", "write an AWS region, like us-east-1"),
        ("{provider: azure, id: x, api_version: 2024-10-21}", "a model of provider azure needs a base_url"),
        ("{provider: azure, id: x, base_url: 'http://a'}", "a model of provider azure needs an api_version"),
        (
            "{provider: azure, id: x, base_url: 'http://a', api_version: latest}",
            "write a day, like 2024-10-21 or 2025-04-01-preview",
        ),
        ("{provider: openai, base_url: 'http://a/v1', id: x, api_version: 2024-10-21}", "takes no api_version"),
        ("{provider: extractive, weights: {extractive: 1}}", "provider extractive takes no weights"),
        ("{provider: balance}", "a model of provider balance needs weights, like {a-model: 3, another: 1}"),
        ("{provider: balance, weights: {}}", "a model of provider balance needs weights"),
        ("{provider: balance, weights: {extractive: 0}}", "0 is too small: write at least 1"),
        ("{provider: balance, weights: {extractive: 1}, id: x}", "provider balance takes no id: write it at each"),
        (
            "{provider: balance, weights: {extractive: 1}, price_per_million_tokens: {prompt: $3}}",
            "provider balance takes no price_per_million_tokens",
        ),
        ("{provider: extractive, id: x}", "provider extractive is one model, built in: remove id"),
        ("{provider: extractive, kind: embeddings}", "provider extractive answers questions"),
        ("{provider: minilm, kind: chat}", "provider minilm makes embeddings"),
        ("{provider: openai, base_url: 'ftp://a/v1', id: x}", "this is not an http(s) URL"),
        ("{provider: openai, base_url: 'http://[bad', id: x}", "this is not an http(s) URL"),
        ("{provider: openai, base_url: 'http://a:99999/v1', id: x}", "this is not an http(s) URL"),
        (
            "{provider: openai, base_url: 'http://a/v1', id: x, price_per_million_tokens: {prompt: 3}}",
            "3 lacks its unit",
        ),
    ],
)
def test_a_model_fits_its_provider(problems, model: str, message: str) -> None:
    told = problems(f"models: {{available: {{m: {model}}}}}")
    assert len(told) == 1, told
    assert message in told[0]


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdef0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "ABCDEFGHIJKLMNOPQRSTUVWX",
        "openai_key",
        "ghp_abcDEF123",
        "1KEY",
    ],
)
def test_a_secret_in_the_place_of_its_variable_is_refused_and_never_repeated(problems, secret: str) -> None:
    told = problems(
        f"models: {{available: {{m: {{provider: openai, base_url: 'http://a', id: x, api_key_env: {secret}}}}}}}"
    )
    assert len(told) == 1
    assert "this is not the name of an environment variable" in told[0]
    assert secret not in told[0]


def test_a_secret_under_a_key_of_its_own_is_refused_and_never_repeated(problems) -> None:
    told = problems("models: {available: {m: {provider: openai, base_url: 'http://a', id: x, api_key: sk-12345}}}")
    assert len(told) == 1
    assert "write the variable's name under `api_key_env`" in told[0]
    assert "sk-12345" not in told[0]


def test_a_secret_in_a_url_is_refused_and_never_repeated(problems) -> None:
    told = problems("models: {available: {m: {provider: openai, base_url: 'http://me:hunter2@a/v1', id: x}}}")
    assert len(told) == 1
    assert "the URL carries a credential" in told[0]
    assert "hunter2" not in told[0]


def test_models_are_parsed_with_their_prices_and_fallbacks(document) -> None:
    models = document(
        "models:\n  default: big\n  available:\n"
        "    big: {provider: openai, base_url: 'https://a.example/v1/', id: big-1, api_key_env: BIG_KEY, "
        "price_per_million_tokens: {prompt: $0.15, completion: $0.60}, fallback: [extractive]}\n"
    ).loaded(None).manifest.models  # fmt: skip
    big = models.available["big"]
    assert (big.base_url, big.id, big.api_key_env, big.fallback) == (
        "https://a.example/v1",
        "big-1",
        "BIG_KEY",
        ("extractive",),
    )
    assert big.price_per_million_tokens is not None
    assert big.price_per_million_tokens.prompt.usd_micros == 150_000
    assert big.price_per_million_tokens.cache_read is None
    assert big.price_per_million_tokens.completion.usd_micros == 600_000
    assert set(models.served()) == {"big", "extractive", MINILM}
    assert models.served()[MINILM].does == "embeddings"


def test_models_of_every_provider_are_parsed(document) -> None:
    models = document(
        "models:\n  available:\n"
        "    claude: {provider: anthropic, id: claude-x, api_key_env: A_KEY, deadline: 90s, first_byte: 500ms}\n"
        "    deployed: {provider: azure, id: d, base_url: 'https://r.example', api_version: 2024-10-21, burst: 20}\n"
        "    nova: {provider: bedrock, id: 'amazon.nova-lite-v1:0', region: eu-west-1, requests_per_second: 10}\n"
        "    both: {provider: balance, weights: {claude: 3, nova: 1}, fallback: [deployed]}\n"
        "    own: {provider: openai, base_url: 'http://a/v1', id: x, context_tokens: 32k, max_output_tokens: 4k,\n"
        "          image_tokens: 1500, price_per_million_tokens: {prompt: $1, cache_read: $0.10, cache_write_1h: $2}}\n"
    ).loaded(None).manifest.models.available  # fmt: skip
    assert (models["claude"].base_url, models["claude"].price_per_million_tokens) == (None, None)
    assert models["claude"].deadline is not None
    assert models["claude"].first_byte is not None
    assert (models["claude"].deadline.seconds, models["claude"].first_byte.milliseconds) == (90, 500)
    assert (models["deployed"].api_version, models["deployed"].burst) == ("2024-10-21", 20)
    assert (models["nova"].region, models["nova"].requests_per_second) == ("eu-west-1", 10)
    assert (models["both"].weights, models["both"].does) == ({"claude": 3, "nova": 1}, "chat")
    own = models["own"]
    assert own.context_tokens is not None
    assert own.max_output_tokens is not None
    assert own.image_tokens is not None
    assert (own.context_tokens.count, own.max_output_tokens.count, own.image_tokens.count) == (32_000, 4_000, 1_500)


def test_plans_and_issuers_are_parsed(document) -> None:
    manifest = document(
        "plans: {free: {requests_per_second: 5, burst: 10, tokens_per_month: 1M, budget_per_month: $5, "
        "tokens_per_minute: 20k, max_output_tokens: 2k}}\n"
        "identity: {issuers: [{issuer: https://id.example/, audience: api, tenant_claim: org, roles_claim: groups}]}\n"
    ).loaded(None).manifest  # fmt: skip
    free = manifest.plans["free"]
    assert free.tokens_per_month is not None
    assert free.budget_per_month is not None
    assert (free.requests_per_second, free.burst) == (5, 10)
    assert free.tokens_per_minute is not None
    assert free.max_output_tokens is not None
    assert (free.tokens_per_minute.count, free.max_output_tokens.count) == (20_000, 2_000)
    assert (free.tokens_per_month.count, free.budget_per_month.usd_micros) == (1_000_000, 5_000_000)
    issuer = manifest.identity.issuers[0]
    assert (issuer.issuer, issuer.audience, issuer.tenant_claim, issuer.roles_claim) == (
        "https://id.example/", "api", "org", "groups",
    )  # fmt: skip


def test_a_component_takes_the_size_of_the_catalog_unless_it_has_one(document) -> None:
    manifest = document("components: {gateway: {size: large}, retrieval: {}}\n").loaded(None).manifest
    assert manifest.component("gateway").size == "large"
    assert manifest.component("retrieval").size == "small"
    assert manifest.component_order() == ("gateway", "retrieval")


def test_an_image_by_digest_and_a_folder_are_accepted(problems) -> None:
    assert (
        problems(f"services: {{a: {{image: ./a, port: 80}}, b: {{image: x.io/y:1@sha256:{DIGEST}, port: 81}}}}") == []
    )


def test_a_key_pasted_as_a_models_identifier_is_never_repeated(problems) -> None:
    told = problems("models: {available: {m: {provider: bedrock, id: 'sk-12345 '}}}")
    assert len(told) == 1
    assert "id: this text does not have the form that is due here: write letters, digits and . _" in told[0]
    assert "sk-12345" not in told[0]
