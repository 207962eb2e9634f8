"""Templates of an assembly as one whole: what a value refers to, also across stacks.

The judge (`reachability`, `custody`) reads templates through this and nothing else. A reference becomes text in
braces: `{data/ObjectsBucket80F6A514.Arn}` for an attribute, without the attribute for a Ref, `{AWS::Region}` for what
AWS alone knows; an import is followed to the resource of the stack that exports it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.infra.app import Assembly

_REFERENCE = re.compile(r"\{([a-z-]+/\w+)(?:\.[\w.]+)?\}")
_TYPED = re.compile(r"\$\{(?P<name>[\w:.]+)\}")


@dataclass(frozen=True, slots=True)
class Found:
    """A resource with where it stands: `place` is `part/logical id`."""

    place: str
    region: str
    kind: str
    properties: Mapping[str, Any]
    resource: Mapping[str, Any]

    @property
    def part(self) -> str:
        """The part of the site whose stack has it."""
        return self.place.partition("/")[0]


class Templates:
    """Every template of an assembly."""

    def __init__(self, assembly: Assembly) -> None:
        self._stacks = {stack.part: stack for stack in assembly.stacks}
        self._exports: dict[str, tuple[str, Any]] = {}
        for stack in assembly.stacks:
            for output in stack.template.get("Outputs", {}).values():
                name = output.get("Export", {}).get("Name")
                if name is not None:
                    self._exports[self.text(stack.part, name)] = (stack.part, output["Value"])

    def of(self, *kinds: str) -> Iterator[Found]:
        """The resources of these types, or all."""
        for part, stack in self._stacks.items():
            for name, resource in stack.template.get("Resources", {}).items():
                if not kinds or resource["Type"] in kinds:
                    yield Found(
                        f"{part}/{name}", stack.region, resource["Type"], resource.get("Properties", {}), resource
                    )

    def text(self, part: str, value: Any) -> str:
        """A value of a stack as text, each reference in braces; a list or mapping as JSON of such texts."""
        if isinstance(value, str):
            return value
        if isinstance(value, Mapping) and len(value) == 1:
            [(function, argument)] = value.items()
            if function in _FUNCTIONS:
                return _FUNCTIONS[function](self, part, argument)
        return json.dumps(self._plain(part, value), sort_keys=True)

    def texts(self, part: str, value: Any) -> tuple[str, ...]:
        """Each value of a list, or the one value, as text."""
        return tuple(self.text(part, each) for each in (value if isinstance(value, list) else [value]))

    def places(self, part: str, value: Any) -> tuple[str, ...]:
        """The places that a value refers to."""
        return places_in(self.text(part, value))

    def _plain(self, part: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            if len(value) == 1 and next(iter(value)) in _FUNCTIONS:
                return self.text(part, value)
            return {key: self._plain(part, each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._plain(part, each) for each in value]
        return value

    def _ref(self, part: str, name: str) -> str:
        return f"{{{name}}}" if name.startswith("AWS::") else f"{{{part}/{name}}}"

    def _get_att(self, part: str, argument: Any) -> str:
        name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
        return f"{{{part}/{name}.{attribute}}}"

    def _import(self, part: str, argument: Any) -> str:
        name = self.text(part, argument)
        if name in self._exports:
            return self.text(*self._exports[name])
        return f"{{import:{name}}}"  # of an environment that is not in this assembly

    def _join(self, part: str, argument: Any) -> str:
        separator, parts = argument
        return str(separator).join(self.texts(part, parts))

    def _sub(self, part: str, argument: Any) -> str:
        text, given = argument if isinstance(argument, list) else (argument, {})

        def named(match: re.Match[str]) -> str:
            name = match["name"]
            if name in given:
                return self.text(part, given[name])
            return self._get_att(part, name) if "." in name else self._ref(part, name)

        return _TYPED.sub(named, text)

    def _select(self, part: str, argument: Any) -> str:
        index, values = argument
        if isinstance(values, list):
            return self.text(part, values[int(index)])
        return f"{self.text(part, values)}[{index}]"

    def _split(self, part: str, argument: Any) -> str:
        return self.text(part, argument[1])


def places_in(text: str) -> tuple[str, ...]:
    """The places that stand in a text, in braces."""
    return tuple(dict.fromkeys(_REFERENCE.findall(text)))


_FUNCTIONS = {
    "Ref": Templates._ref,
    "Fn::GetAtt": Templates._get_att,
    "Fn::ImportValue": Templates._import,
    "Fn::Join": Templates._join,
    "Fn::Sub": Templates._sub,
    "Fn::Select": Templates._select,
    "Fn::Split": Templates._split,
}
