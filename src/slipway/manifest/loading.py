"""A file into a frozen manifest: read, merged, checked, with every problem at once.

The one entrance: `load` for a file, `build` for data made by code (blueprints, defaults, tests). What they
refuse leaves as ManifestProblems; nothing is returned half checked.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from slipway.manifest import complaints
from slipway.manifest.environments import DEFAULT, Merged, Origin, merge
from slipway.manifest.fields import nearest
from slipway.manifest.problems import Finding, ManifestProblems, Path, Problem, path_text
from slipway.manifest.rules import rulebook, sharing
from slipway.manifest.schema import ENVIRONMENT_ONLY_KEYS, FIXED_KEYS, Manifest
from slipway.manifest.sections.section import NAME_PATTERN
from slipway.manifest.source import SIZE_MAX_BYTES, Node, Unreadable, read


@dataclass(frozen=True, slots=True)
class Loaded:
    """A manifest in one environment (None: the base), where its values came from, and which environments there are."""

    manifest: Manifest
    environment: str | None
    environments: tuple[str, ...]
    origins: Mapping[str, Origin]

    def origin(self, path: str) -> Origin:
        """Where the value at `path` (dotted) came from; what the file does not say is a default."""
        if path in self.origins:
            return self.origins[path]
        above = self.origins.get(path.rpartition(".")[0])
        return above if above is not None and above.scalar else Origin(DEFAULT)


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read but not checked yet: the base, its environments, and what reading refused."""

    file: str
    base: Node
    environments: Mapping[str, Node]
    problems: tuple[Problem, ...]

    def loaded(self, environment: str | None) -> Loaded:
        """The manifest in one environment; raises ManifestProblems with all there are in it."""
        found = list(self.problems)
        if environment is not None and environment not in self.environments:
            found.append(Problem(0, 0, "", self._no_such(environment)))
            environment = None
        override = self.environments.get(environment) if environment is not None else None
        if override is not None and not isinstance(override.value, dict):
            override = None  # refused when the file was read
        merged = merge(self.base, override, environment)
        manifest, findings = _checked(merged)
        findings += _placed(merged, environment, self.environments)
        if manifest is not None and not findings and manifest.share is not None:
            host = _checked(merge(self.base, self.environments[manifest.share], manifest.share))[0]
            findings += sharing.fits(manifest, host, manifest.share) if host is not None else ()
        found += [_located(finding, merged) for finding in findings]
        if found or manifest is None:
            raise ManifestProblems(self.file, tuple(sorted(set(found))))
        origins = {path_text(path): origin for path, origin in merged.origins.items()}
        return Loaded(manifest, environment, tuple(self.environments), origins)

    def check(self) -> tuple[Loaded, ...]:
        """The base and every environment; raises ManifestProblems with the problems of all of them."""
        loaded: list[Loaded] = []
        base: frozenset[Problem] = frozenset()
        problems: set[Problem] = set()
        for environment in (None, *self.environments):
            try:
                loaded.append(self.loaded(environment))
            except ManifestProblems as refused:
                if environment is None:
                    base = frozenset(refused.problems)
                problems.update(p if p in base else p.within(environment) for p in refused.problems)
        if problems:
            raise ManifestProblems(self.file, tuple(sorted(problems)))
        return tuple(loaded)

    def _no_such(self, environment: str) -> str:
        known = tuple(self.environments)
        near = nearest(environment, known)
        if near:
            return f"there is no environment `{environment}`: did you mean `{near}`?"
        return f"there is no environment `{environment}`: " + (
            f"the environments are {', '.join(known)}" if known else "the manifest declares none under `environments`"
        )


def load(path: FilePath | str, environment: str | None = None) -> Loaded:
    """The manifest of a file in one environment, or its base. Raises ManifestProblems with every problem at once."""
    return open_document(path).loaded(environment)


def open_document(path: FilePath | str) -> Document:
    """Reads a file without checking what it says. Raises ManifestProblems when it cannot be read."""
    file = FilePath(path)
    try:
        content = _content(file)
        return parse(content, str(path))
    except Unreadable as refused:
        raise ManifestProblems(str(path), (refused.problem,), unreadable=True) from refused


def parse(text: str, file: str = "manifest") -> Document:
    """YAML text as a document; raises Unreadable, which `open_document` turns into ManifestProblems."""
    root, problems = read(text)
    if not isinstance(root.value, dict):
        raise Unreadable(
            "a manifest is keys and values: `slipway init` writes one to start from", root.line, root.column
        )
    found = list(problems)
    environments: dict[str, Node] = {}
    declared = root.value.get("environments")
    if declared is not None and not isinstance(declared.value, dict):
        found.append(
            Problem(
                declared.line, declared.column, "environments", "names of environments are due here, each with keys"
            )
        )
    elif declared is not None and isinstance(declared.value, dict):
        environments = declared.value
        for name, node in environments.items():
            found += _environment_problems(name, node)
    base = {key: node for key, node in root.value.items() if key != "environments"}
    found += [
        Problem(node.line, node.column, key, complaints.wrong_environment_key(key))
        for key, node in base.items()
        if key in ENVIRONMENT_ONLY_KEYS
    ]
    environments = {name: _without_fixed(node) for name, node in environments.items()}
    return Document(file, Node(base, root.line, root.column), environments, tuple(found))


def build(data: Mapping[str, Any]) -> Manifest:
    """The manifest that plain data states, without environments. Raises ManifestProblems."""
    merged = Merged(dict(data))
    manifest, findings = _checked(merged)
    if findings or manifest is None:
        raise ManifestProblems("manifest", tuple(sorted({_located(finding, merged) for finding in findings})))
    return manifest


def _content(file: FilePath) -> str:
    try:
        if file.is_dir():
            raise Unreadable("this is a folder: name the file in it, like slipway.yaml")
        with file.open("rb") as stream:
            content = stream.read(SIZE_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise Unreadable("there is no such file: `slipway init` writes one") from error
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror}") from error
    if len(content) > SIZE_MAX_BYTES:
        raise Unreadable(f"the file is larger than {SIZE_MAX_BYTES >> 20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise Unreadable("the file is not UTF-8: save it as UTF-8", line, column) from error


def _environment_problems(name: str, node: Node) -> Iterator[Problem]:
    path = ("environments", name)
    if not re.fullmatch(NAME_PATTERN, name):
        message = "this cannot be the name of an environment: write lower-case words joined by dashes"
        yield Problem(node.line, node.column, path_text(path), message)
    if not isinstance(node.value, dict):
        yield Problem(node.line, node.column, path_text(path), "keys and values are due here: write {} for no override")
        return
    for key in FIXED_KEYS:
        fixed = node.value.get(key)
        if fixed is not None:
            why = "environments do not nest" if key == "environments" else "it is the same in every environment"
            yield Problem(
                fixed.line,
                fixed.column,
                path_text((*path, key)),
                f"an environment cannot override `{key}`: {why}; remove it",
            )


def _without_fixed(node: Node) -> Node:
    if not isinstance(node.value, dict):
        return node
    return Node({key: child for key, child in node.value.items() if key not in FIXED_KEYS}, node.line, node.column)


def _checked(merged: Merged) -> tuple[Manifest | None, list[Finding]]:
    """The manifest if its shape holds, and every problem: of the shape, and of rules over sound sections."""
    try:
        manifest = _validated(merged.data)
    except ValidationError as refused:
        found = list(complaints.findings(refused))
        failed = frozenset(str(finding.path[0]) for finding in found if finding.path)
        sound = {key: value for key, value in merged.data.items() if key not in failed}
        try:
            manifest = _validated({"slipway": 1, "name": "unnamed", **sound})
        except ValidationError:
            return None, found
        return None, [*found, *rulebook.check(manifest, failed)]
    return manifest, list(rulebook.check(manifest))


def _validated(data: Any) -> Manifest:
    # As JSON, because strict validation of Python objects refuses a list where the model has a tuple.
    return Manifest.model_validate_json(json.dumps(data))


def _placed(merged: Merged, environment: str | None, known: Mapping[str, Node]) -> list[Finding]:
    """A template shares a lasting environment, alone, and says when what is made of it ends."""
    if environment is None:
        return []
    shared, template = merged.data.get("share"), merged.data.get("template") is True
    found = []
    if template and shared is None:
        found.append(
            Finding(("template",), "each of them would pay for a network of its own: write share: and an environment")
        )
    if template and merged.data.get("ttl") is None:
        found.append(Finding(("template",), "nobody would end them: write ttl: 7d, counted from the last deploy"))
    return found + _shared(merged, shared, environment, known) if isinstance(shared, str) else found


def _shared(merged: Merged, shared: str, environment: str, known: Mapping[str, Node]) -> list[Finding]:
    if shared == environment:
        return [Finding(("share",), "an environment cannot share its own network: name another one")]
    if shared not in known:
        near = nearest(shared, tuple(known))
        meant = f"did you mean `{near}`?" if near else f"the environments are {', '.join(known)}"
        return [Finding(("share",), f"there is no environment `{shared}`: {meant}")]
    other = known[shared].value
    if not isinstance(other, dict):
        return []
    if "template" in other and other["template"].value is True:
        return [Finding(("share",), f"`{shared}` is a template, which does not stay: name a lasting environment")]
    if merged.data.get("template") is not True:
        return [
            Finding(
                ("share",),
                "rules of two lasting environments on one listener would meet: write template: true and ttl for "
                "previews, which have a host name each, or leave share out, for a network of its own",
            )
        ]
    others = [name for name, node in known.items() if name != environment and _value(node, "share") == shared]
    if others:
        return [
            Finding(
                ("share",),
                f"`{others[0]}` shares `{shared}` as well, and a pull request would have the same host name and rules "
                "in both: share another environment",
            )
        ]
    return []


def _value(node: Node, key: str) -> Any:
    """What a mapping says under a key; None for nothing."""
    child = node.value.get(key) if isinstance(node.value, dict) else None
    return None if child is None else child.value


def _located(finding: Finding, merged: Merged) -> Problem:
    """A finding at its line in the file: that of the value, or of the nearest mapping around it."""
    path: Path = finding.path
    while path not in merged.origins and path:
        path = path[:-1]
    origin = merged.origins.get(path, Origin(DEFAULT))
    prefix = origin.source if origin.source.startswith("environments.") else ""
    text = path_text(finding.path)
    return Problem(origin.line, origin.column, f"{prefix}.{text}" if prefix and text else text, finding.message)
