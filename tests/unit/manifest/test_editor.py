"""The JSON Schema: valid itself, and of one mind with the loader about what an editor would show."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from slipway.manifest.blueprints import blueprint_names, blueprint_text
from slipway.manifest.catalog import CATALOG
from slipway.manifest.editor import json_schema
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.section import FORMS
from slipway.manifest.units import Quantity

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "manifests").glob("*.yaml"))
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def accepts(data: object) -> bool:
    return VALIDATOR.is_valid(data)


def manifest(**keys: object) -> dict[str, object]:
    return {"slipway": 1, "name": "a", **keys}


def test_it_is_a_schema_of_2020_12() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    json.dumps(SCHEMA)


def test_every_key_of_every_section_is_described() -> None:
    definitions = [SCHEMA, *SCHEMA["$defs"].values()]
    keys = [(name, key) for each in definitions for name, key in each.get("properties", {}).items()]
    assert len(keys) > 100
    assert [name for name, key in keys if not key.get("description")] == []


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_the_examples_are_accepted(file: Path) -> None:
    assert list(VALIDATOR.iter_errors(YAML(typ="safe", pure=True).load(file))) == []


@pytest.mark.parametrize("name", blueprint_names())
def test_the_blueprints_are_accepted(name: str) -> None:
    assert list(VALIDATOR.iter_errors(YAML(typ="safe", pure=True).load(blueprint_text(name)))) == []


@pytest.mark.parametrize(
    "keys",
    [
        {"recovery": {"backups": {"daily": "35d", "weekly": {"keep": "1y", "cold_after": "30d"}}}},
        {"plans": {"free": {"tokens_per_month": 1000, "budget_per_month": "$5"}}},
        {"data": {"redis": None}},
        {"environments": {"dev": {}, "prod": {"components": {"gateway": {"scale": {"min": 3}}}}}},
        {"environments": {"dev": {"recovery": {"objectives": {"rto": "8h"}}}}},
        {"environments": {"dev": {"services": {"web": {"count": 1}}, "schedule": {"start": "07:00 UTC"}}}},
        {"environments": {"dev": {"template": True, "ttl": "7d", "share": "prod"}}},
    ],
)
def test_what_the_loader_takes_is_accepted(keys: dict) -> None:
    assert accepts(manifest(**keys))


@pytest.mark.parametrize(
    "keys",
    [
        {"nam": "x"},
        {"network": {"azz": 2}},
        {"components": {"billing": {}}},
        {"services": {"web": {"port": 80}}},
        {"services": {"Web": {"image": "./web", "port": 80}}},
        {"plans": {"free": {"budget_per_month": "5"}}},
        {"plans": {"free": {"tokens_per_month": "1.5M"}}},
        {"monitoring": {"alarms": {"latency": 5}}},
        {"monitoring": {"alarms": {"cpu": "80"}}},
        {"recovery": {"backups": {"daily": "35 days"}}},
        {"models": {"available": {"a": {"provider": "extractive", "api_key_env": "sk-123"}}}},
        {"ttl": "7d"},
        {"environments": {"dev": {"name": "other"}}},
        {"environments": {"dev": {"environments": {}}}},
        {"environments": {"dev": {"network": {"azz": 2}}}},
        {"environments": {"dev": {"services": {"web": {"prot": 1}}}}},
        {"environments": {"De.v": {}}},
    ],
)
def test_what_the_loader_refuses_is_refused(problems, keys: dict) -> None:
    assert not accepts(manifest(**keys))
    assert problems(json.dumps(keys)[1:-1].replace('"nam": "x"', "nam: x"))


def test_every_form_of_a_text_can_be_said_in_words() -> None:
    def patterns(node: object) -> set[str]:
        if isinstance(node, dict):
            own = {node["pattern"]} if isinstance(node.get("pattern"), str) else set()
            return own.union(*(patterns(child) for child in node.values()), node.get("patternProperties", {}))
        return set().union(*map(patterns, node)) if isinstance(node, list) else set()

    quantities = {kind.PATTERN for kind in Quantity.__subclasses__()}
    checked_in_words = {"^https?://"}
    assert patterns(SCHEMA) - quantities - checked_in_words == set(FORMS)


def test_making_it_twice_gives_the_same_and_leaves_the_model_alone() -> None:
    before = copy.deepcopy(Manifest.model_json_schema())
    assert json_schema() == SCHEMA
    assert Manifest.model_json_schema() == before
    assert SCHEMA["properties"]["components"]["propertyNames"] == {"enum": list(CATALOG)}
    assert SCHEMA["required"] == ["slipway", "name"]
