"""The JSON Schema (2020-12) of the manifest file, for editors: `slipway schema` prints it.

The file has one key that the merged manifest does not: `environments`, whose values are the manifest again
with nothing required. So every definition stands twice, as it is and as a part that an environment may
override.
"""

from copy import deepcopy
from typing import Any, Final

from slipway.manifest.catalog import CATALOG
from slipway.manifest.schema import ENVIRONMENT_ONLY_KEYS, FIXED_KEYS, Manifest
from slipway.manifest.sections.section import NAME_PATTERN

_PART: Final = "InEnvironment"


def json_schema() -> dict[str, Any]:
    """The schema as plain data; its keys stand in the order of the manifest."""
    whole = Manifest.model_json_schema(mode="validation", ref_template="#/$defs/{model}")
    _tidy(whole)
    whole["properties"]["components"]["propertyNames"] = {"enum": list(CATALOG)}
    definitions: dict[str, Any] = whole.pop("$defs", {})
    parts = {f"{name}{_PART}": _partial(definition) for name, definition in definitions.items()}
    environment = _partial(whole)
    environment["properties"] = {
        key: value for key, value in environment["properties"].items() if key not in FIXED_KEYS
    }
    environment["description"] = "What differs in this environment: mappings merge, everything else replaces."
    properties = {key: value for key, value in whole["properties"].items() if key not in ENVIRONMENT_ONLY_KEYS}
    properties["environments"] = {
        "type": "object",
        "description": "Environments by name, each an override of everything above.",
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": {"$ref": f"#/$defs/{_PART}"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slipway.yaml",
        **{key: value for key, value in whole.items() if key != "properties"},
        "properties": properties,
        "$defs": {**definitions, **parts, _PART: environment},
    }


def _tidy(node: Any) -> None:
    """Closes mappings of names to names that fit, and drops the titles and empty defaults that only repeat the key."""
    if isinstance(node, dict):
        if "patternProperties" in node:
            node["additionalProperties"] = False
        if isinstance(node.get("title"), str):
            del node["title"]
        if "default" in node and node["default"] is None:
            del node["default"]
        for child in node.values():
            _tidy(child)
    elif isinstance(node, list):
        for child in node:
            _tidy(child)


def _partial(definition: dict[str, Any]) -> dict[str, Any]:
    """The same with nothing required and no defaults, all the way down: an override states only what differs."""
    partial = deepcopy(definition)
    partial.pop("required", None)
    _redirect(partial)
    return partial


def _redirect(node: Any) -> None:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            node["$ref"] += _PART
        if "description" in node or "$ref" in node or "type" in node or "anyOf" in node:
            node.pop("default", None)
        for child in node.values():
            _redirect(child)
    elif isinstance(node, list):
        for child in node:
            _redirect(child)
