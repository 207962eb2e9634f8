"""The validator's refusals as sentences that say why and what to write instead.

Called by `loading`. A value is repeated only where it is no place for a secret: numbers, truth values, words of
a closed set, and names, regions and routes that are short.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from slipway.manifest.fields import model_at, nearest, places
from slipway.manifest.problems import Finding, Path, path_text
from slipway.manifest.sections.section import FORMS, KEY_PATTERN

_SECRET_WORDS = ("api_key", "apikey", "secret", "password", "token")
_KEY_ERRORS = frozenset(
    {"string_pattern_mismatch", "string_too_long", "string_too_short", "component", "tag", "variable"}
)
# What a person reads for the validator's own error types; `{…}` are the values of the error's context.
_SENTENCES = {
    "missing": "this key is required{hint}",
    "int_type": "a whole number is due here, not {given}: write it without quotes",
    "int_from_float": "a whole number is due here, not {given}",
    "float_type": "a number is due here, not {given}: write it without quotes",
    "bool_type": "write true or false, not {given}",
    "string_type": 'a text is due here, not {given}: write it in quotes, like "1234"',
    "string_too_short": "at least {min_length} characters are due here",
    "string_too_long": "at most {max_length} characters are allowed here",
    "greater_than_equal": "{given} is too small: write at least {ge}",
    "less_than_equal": "{given} is too large: write at most {le}",
    "multiple_of": "{given} is not a multiple of {multiple_of}",
    "too_short": "write at least {min_length} of them",
    "too_long": "write at most {max_length} of them",
    "tuple_type": "a list is due here, not {given}: write [one, two]",
    "model_type": "keys and values are due here, not {given}: write {{}} to take the defaults{hint}",
    "model_attributes_type": "keys and values are due here, not {given}: write {{}} to take the defaults{hint}",
    "dict_type": "keys and values are due here, not {given}: write {{}} for none",
    "mapping_type": "keys and values are due here, not {given}: write {{}} for none",
}


def findings(error: ValidationError) -> Iterable[Finding]:
    """Each refusal of `error` with its path and its sentence."""
    for details in error.errors(include_url=False):
        path = details["loc"]
        if details["type"] in _KEY_ERRORS and path[-1:] == ("[key]",):  # how pydantic says that it means the key
            path = path[:-1]
        yield Finding(path, _sentence(path, details["type"], details))


def unknown_key(path: Path) -> str:
    """Why the last key of `path` is refused: the nearest known key, where else it stands, or what is known here."""
    key = str(path[-1])
    model = model_at(path[:-1])
    known = tuple(model.model_fields) if model is not None else ()
    if any(word in key.lower() for word in _SECRET_WORDS) and "api_key_env" in known:
        return (
            "a secret never stands in the manifest: export it as an environment variable and write the variable's name "
            "under `api_key_env`"
        )
    near, elsewhere = nearest(key, known), places(key)
    below = [place for place in elsewhere if place.startswith(f"{path_text(path[:-1])}.")]
    if near is not None and not below:  # the very key one level down is meant rather than one that reads like it
        return f"there is no key `{key}` here: did you mean `{near}`?"
    if elsewhere:
        return f"there is no key `{key}` here: it stands under {' and '.join(f'`{place}`' for place in elsewhere[:3])}"
    return f"there is no key `{key}` here: the keys are {', '.join(known)}"


def wrong_environment_key(key: str) -> str:
    """Why a key that only an environment has is refused outside one."""
    return f"`{key}` belongs to an environment: move it under environments.<name>"


def _sentence(path: Path, kind: str, details: Mapping[str, Any]) -> str:
    context = details.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(path)
    if kind in ("literal_error", "enum"):
        return _choice(str(context["expected"]), details["input"])
    if kind == "string_pattern_mismatch":
        given, form = _quoted(details["input"], context["pattern"]), _form(context["pattern"])
        return f"{given} does not have the form that is due here: {form}"
    template = _SENTENCES.get(kind)
    if template is None:  # raised by a section, in its own words
        return str(details["msg"])
    return template.format(**{**context, "given": _given(details["input"]), "hint": _hint(path)})


def _choice(expected: str, given: Any) -> str:
    options = tuple(expected.replace(" or ", ", ").replace("'", "").split(", "))
    near = nearest(given, options) if isinstance(given, str) else None
    meant = f" (did you mean {near}?)" if near else ""
    return f"{_given(given, word=True)} is not one of {', '.join(options)}{meant}"


def _given(value: Any, *, word: bool = False) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return f"`{value}`" if word and len(value) <= 40 else "a text"
    return "a list" if isinstance(value, list | tuple) else "keys and values"


def _quoted(text: str, pattern: str) -> str:
    """`text`, unless it is long or stands where a provider's identifiers do: there a key may have been pasted."""
    known = pattern in FORMS and pattern != KEY_PATTERN
    return f"`{text}`" if known and 0 < len(text) <= 40 and text.isprintable() else "this text"


def _form(pattern: str) -> str:
    return f"write {FORMS[pattern]}" if pattern in FORMS else pattern


def _hint(path: Path) -> str:
    model = model_at(path[:-1])
    described = model.model_fields.get(str(path[-1])) if model is not None else None
    examples = {"slipway": ": write slipway: 1", "name": ": write name: my-platform"}
    if path_text(path) in examples:
        return examples[path_text(path)]
    return f": {described.description}" if described is not None and described.description else ""
