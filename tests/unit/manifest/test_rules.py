"""Rules that span sections: references between models, needs, exposure."""

import pytest

DIGEST = "sha256:" + "a" * 64
SHARED = "provider: balance, weights: {extractive: 1}"
OPENAI = "provider: openai, base_url: 'http://a/v1', id: x"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (
            "models: {default: all-minilm-l6-v2}",
            "3:10 models.default",
            "`all-minilm-l6-v2` is no chat model: write one of extractive",
        ),
        ("models: {default: extractiv}", "3:10 models.default", "did you mean `extractive`?"),
        (
            "models: {embeddings: extractive}",
            "3:10 models.embeddings",
            "is no embeddings model: write one of all-minilm-l6-v2",
        ),
        (
            f"models: {{available: {{a: {{{OPENAI}, fallback: [extractive, b]}}}}}}",
            "3:99 models.available.a.fallback.1",
            "there is no model `b` under models.available",
        ),
        (
            f"models: {{available: {{a: {{{OPENAI}, fallback: [all-minilm-l6-v2]}}}}}}",
            "3:87 models.available.a.fallback.0",
            "`all-minilm-l6-v2` is no chat model: write one of extractive, a",
        ),
        (
            f"models: {{available: {{a: {{{OPENAI}, fallback: [b]}}, b: {{{OPENAI}, fallback: [a]}}}}}}",
            "3:76 models.available.a.fallback",
            "these models stand in for each other in a circle, a → b → a",
        ),
        (
            "models: {available: {a: {provider: balance, weights: {extractiv: 1}}}}",
            "3:55 models.available.a.weights.extractiv",
            "there is no model `extractiv` under models.available: did you mean `extractive`?",
        ),
        (
            "models: {available: {a: {provider: balance, weights: {all-minilm-l6-v2: 1}}}}",
            "3:55 models.available.a.weights.all-minilm-l6-v2",
            "`all-minilm-l6-v2` is no chat model",
        ),
        (
            f"models: {{available: {{a: {{{SHARED}}}, b: {{provider: balance, weights: {{a: 1}}}}}}}}",
            "3:105 models.available.b.weights.a",
            "`a` shares requests out itself: name the models under its weights instead",
        ),
        (
            f"models: {{available: {{a: {{provider: balance, weights: {{b: 1}}}}, b: {{{OPENAI}, fallback: [a]}}}}}}",
            "3:45 models.available.a.weights",
            "these models stand in for each other in a circle, a → b → a",
        ),
    ],
)
def test_models_that_are_named_exist_and_do_what_is_asked(problems, text: str, place: str, message: str) -> None:
    told = problems(text)
    assert len(told) == 1, told
    assert told[0].startswith(f"{place}: ")
    assert message in told[0]


def test_a_component_whose_need_no_store_meets_is_refused(problems) -> None:
    told = problems("components: {retrieval: {}}\ndata: {objects: null}")
    assert len(told) == 1
    assert told[0].startswith("3:14 components.retrieval: retrieval needs objects, and no store meets that: write ")
    assert "write `objects: {}` under data, or remove the component" in told[0]


def test_a_need_of_what_runs_along_is_refused_at_the_component_that_brought_it(problems) -> None:
    told = problems("components: {chat: {}}\ndata: {objects: null}")
    assert len(told) == 1
    assert "components.chat: retrieval runs because chat needs it, and retrieval needs objects" in told[0]


def test_without_components_a_missing_store_is_told_for_each_that_needs_it(problems) -> None:
    told = problems("data: {postgres: null}")
    assert [line.split(" needs ")[0] for line in told] == [
        f"3:1 data: {name}" for name in ("chat", "gateway", "identity", "memory", "retrieval")
    ]


def test_a_service_of_its_name_meets_the_need_for_a_store(problems) -> None:
    cache = f"redis: {{image: valkey/valkey@{DIGEST}, port: 6379}}"
    services = f"services: {{{cache}, web: {{image: ./web, port: 80, needs: [redis]}}}}"
    assert problems(services) == []


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ("redis", "web needs redis, and no store meets that: write `redis: {}` under data"),
        ("memory", "web needs memory, which does not run: write `memory: {}` under components"),
        ("postgers", "nothing is called `postgers`: did you mean `postgres`?"),
        ("kafka", "nothing is called `kafka`: a need is one of gateway, models, objects, postgres, web"),
    ],
)
def test_a_need_of_a_service_that_nothing_meets_is_refused(problems, needs: str, message: str) -> None:
    told = problems(f"components: {{gateway: {{}}}}\nservices: {{web: {{image: ./web, port: 80, needs: [{needs}]}}}}")
    assert len(told) == 1
    assert told[0].startswith("4:50 services.web.needs.0: ")
    assert message in told[0]


def test_services_need_stores_components_what_runs_along_and_each_other(problems) -> None:
    assert problems(
        "components: {chat: {}}\ndata: {redis: {}}\nservices:\n"
        "  web: {image: ./web, port: 80, needs: [redis, postgres, objects, models, gateway, memory, chat, api]}\n"
        "  api: {image: ./api, port: 81}\n"
    ) == []  # fmt: skip


def test_circular_needs_are_refused(problems) -> None:
    told = problems(
        "services:\n  a: {image: ./a, port: 80, needs: [b]}\n  b: {image: ./b, port: 81, needs: [c]}\n"
        "  c: {image: ./c, port: 82, needs: [a]}\n"
    )
    assert told == [
        "4:29 services.a.needs: circular needs, a → b → c → a: none of them could start first; remove one need"
    ]


@pytest.mark.parametrize(
    ("name", "what"),
    [("gateway", "a component of the catalog"), ("postgres", "a store under data"), ("models", "a store")],
)
def test_a_service_does_not_take_the_name_of_something_else(problems, name: str, what: str) -> None:
    told = problems(f"services: {{{name}: {{image: ./x, port: 80}}}}")
    assert len(told) == 1
    assert f"services.{name}: `{name}` is already {what}" in told[0]
    assert told[0].endswith("rename the service")


@pytest.mark.parametrize(
    ("service", "store"),
    [
        (f"{{image: qdrant/qdrant@{DIGEST}, port: 8000, route: /x/*}}", "its image is qdrant"),
        (f"{{image: 'reg.example:5000/team/postgres:17@{DIGEST}', port: 8000, route: /x/*}}", "its image is postgres"),
        ("{image: ./redis/, port: 8000, route: /x/*}", "its image is redis"),
        ("{image: ./mine, port: 6333, route: /x/*}", "port 6333 is Qdrant's"),
        ("{image: ./mine, port: 5432, route: /x}", "port 5432 is PostgreSQL's"),
    ],
)
def test_a_public_route_to_a_data_store_is_refused(problems, service: str, store: str) -> None:
    told = problems(f"services: {{vectors: {service}}}")
    assert len(told) == 1
    assert f"services.vectors.route: vectors is a data store ({store}), and a public route" in told[0]
    internal = service.replace("route:", "exposure: internal, route:")
    assert problems(f"services: {{vectors: {internal}}}") == []


def test_a_store_without_a_route_and_a_service_with_one_are_accepted(problems) -> None:
    assert problems(f"services: {{q: {{image: qdrant/qdrant@{DIGEST}, port: 6333}}}}") == []
    assert problems("services: {web: {image: ./web, port: 3000, route: /*}}") == []


@pytest.mark.parametrize(
    "route", ["/v1/chat", "/v1/documents/mine", "/v1/*", "/objects", "/v1/admin/*", "/.well-known/x"]
)
def test_a_route_of_a_component_is_not_given_away(problems, route: str) -> None:
    told = problems(f"services: {{web: {{image: ./web, port: 80, route: {route}}}}}")
    assert len(told) == 1
    assert f"services.web.route: {route} takes requests from the component" in told[0]


def test_a_route_leads_to_one_service(problems) -> None:
    told = problems("services: {a: {image: ./a, port: 80, route: /api/*}, b: {image: ./b, port: 81, route: /api/*}}")
    assert told == ["3:80 services.b.route: /api/* already leads to the service a: choose another path"]
