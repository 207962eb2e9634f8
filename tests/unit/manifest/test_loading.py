"""From a file to a manifest: every problem at once with its place, origins, and files that cannot be read."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from slipway.base.errors import Misconfigured
from slipway.manifest import ManifestProblems, build, default_manifest, load, open_document
from slipway.manifest.environments import Origin
from slipway.manifest.explain import explain
from slipway.manifest.loading import parse
from slipway.manifest.schema import Manifest

EXAMPLE = YAML(typ="safe", pure=True).load(Path(__file__).parents[3] / "examples" / "manifests" / "rag-assistant.yaml")
MANY_MISTAKES = f"""\
slipway: 2
nme: x
azs: 3
components: {{gatway: {{}}, chat: {{scale: {{min: 5, max: 2}}}}}}
services:
  cache: {{image: redis@sha256:{"a" * 64}, port: 6379, route: /cache/*, needs: [nope]}}
network: {{cidr: 10.0.0.0/16, azs: two}}
data:
  postgres: {{point_in_time: 7}}
  postgres: {{}}
models:
  default: claud
tags: {{CostCenter: 1234}}
environments:
  prod:
    name: other
    compute: fragate
    network: {{azz: 3}}
"""
NO_GATWAY = "there is no component `gatway`: did you mean `gateway`? A container of your own stands under `services`"
STORE_ROUTE = (
    "cache is a data store (its image is redis), and a public route would put its data on the internet: write "
    "exposure: internal, or remove the route and let services reach it by `needs: [cache]`"
)
NO_CLAUD = "there is no model `claud` under models.available: the models are extractive, all-minilm-l6-v2"
FIXED_NAME = "an environment cannot override `name`: it is the same in every environment; remove it"


def refused(path: Path, environment: str | None = None) -> ManifestProblems:
    with pytest.raises(ManifestProblems) as problems:
        load(path, environment)
    return problems.value


def test_every_problem_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_text(MANY_MISTAKES)
    with pytest.raises(ManifestProblems) as caught:
        open_document(file).check()
    told = [(p.line, p.column, p.path, p.message) for p in caught.value.problems]
    assert told == [
        (1, 1, "name", "this key is required: write name: my-platform"),
        (1, 1, "slipway", "this Slipway reads schema version 1: write slipway: 1"),
        (2, 1, "nme", "there is no key `nme` here: did you mean `name`?"),
        (3, 1, "azs", "there is no key `azs` here: it stands under `network`"),
        (4, 14, "components.gatway", NO_GATWAY),
        (4, 33, "components.chat.scale", "min is 5 and max is 2: write a max of at least 5"),
        (6, 109, "services.cache.route", STORE_ROUTE),
        (7, 30, "network.azs", "a whole number is due here, not a text: write it without quotes"),
        (9, 14, "data.postgres.point_in_time", "7 lacks its unit: write a duration like 30s, 5m, 4h, 7d or 1y"),
        (10, 3, "", "the key `postgres` already stands in line 9: keep one of the two"),
        (12, 3, "models.default", NO_CLAUD),
        (13, 8, "tags.CostCenter", 'a text is due here, not 1234: write it in quotes, like "1234"'),
        (16, 5, "environments.prod.name", FIXED_NAME),
        (17, 5, "environments.prod.compute", "`fragate` is not one of fargate, ec2, eks (did you mean fargate?)"),
        (18, 15, "environments.prod.network.azz", "there is no key `azz` here: did you mean `azs`?"),
    ]
    for _line, _column, path, message in told:
        assert f"{path}: {message}" in caught.value.public
    assert isinstance(caught.value, Misconfigured)
    assert caught.value.code == "misconfigured"


def test_rules_over_sound_sections_are_told_beside_problems_of_others(problems) -> None:
    told = problems("models: {default: nobody}\nnetwork: {azs: 99}\n")
    assert [line.split(": ")[0] for line in told] == ["3:10 models.default", "4:11 network.azs"]


def test_a_rule_is_silent_about_a_section_that_is_wrong_itself(problems) -> None:
    told = problems("models: {default: nobody, available: {a: {provider: openia}}}\n")
    assert len(told) == 1
    assert told[0].startswith("3:43 models.available.a.provider: `openia` is not one of openai, extractive, minilm,")
    assert told[0].endswith("(did you mean openai?)")


def test_a_problem_of_the_base_is_told_once_and_one_of_an_environment_names_it(problems) -> None:
    told = problems("models: {default: nobody}\nenvironments: {dev: {}, prod: {}}\n")
    assert len(told) == 1
    told = problems(
        "services: {web: {image: ./web, port: 80, needs: [redis]}}\ndata: {redis: {}}\n"
        "environments: {dev: {data: {redis: null}}, prod: {}}\n"
    )
    assert len(told) == 1
    assert told[0].startswith("3:50 services.web.needs.0: web needs redis, and no store meets that: write `redis: {}`")
    assert told[0].endswith("(in the environment dev)")


@pytest.mark.requirement("DLV-01", "R")
def test_an_environment_overrides_and_every_value_knows_its_line(document) -> None:
    opened = document(
        "network: {azs: 2, nat: single}\n"
        "recovery: {backups: {daily: 35d}}\n"
        "environments:\n"
        "  dev: {}\n"
        "  prod:\n"
        "    network: {azs: 3}\n"
        "    plans: {free: {burst: 5}}\n"
    )
    base, dev, prod = opened.check()
    assert [loaded.environment for loaded in (base, dev, prod)] == [None, "dev", "prod"]
    assert (base.manifest.network.azs, dev.manifest.network.azs, prod.manifest.network.azs) == (2, 2, 3)
    assert prod.manifest.network.nat == "single"
    assert prod.environments == ("dev", "prod")
    assert prod.origins["network.azs"] == Origin("environments.prod", 8, 15, scalar=True)
    assert prod.origin("network.nat") == Origin("base", 3, 19, scalar=True)
    assert prod.origin("plans.free.burst").source == "environments.prod"
    assert prod.origin("compute") == Origin("default")
    assert dev.origin("network.azs").source == "base"


def test_what_the_schema_makes_of_a_shorthand_keeps_its_line(document) -> None:
    loaded = document("recovery: {backups: {daily: 35d}}\n").loaded(None)
    values = {value.path: value for value in explain(loaded)}
    assert (values["recovery.backups.daily.keep"].value, values["recovery.backups.daily.keep"].origin.line) == (
        "35d",
        3,
    )
    assert values["recovery.backups.weekly"].origin == Origin("default")


def test_explain_lists_every_value_of_the_manifest_once(document) -> None:
    values = explain(document("identity: {issuers: [{issuer: https://a.example, audience: x}]}\n").loaded(None))
    paths = [value.path for value in values]
    assert len(paths) == len(set(paths))
    assert {path.split(".")[0] for path in paths} == set(Manifest.model_fields)
    assert "identity.issuers.0.audience" in paths


def test_load_of_one_environment_does_not_fail_for_another(tmp_path: Path) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_text("slipway: 1\nname: a\nenvironments: {dev: {}, prod: {compute: lambda}}\n")
    assert load(file, "dev").manifest.compute == "fargate"
    assert load(file).manifest.compute == "fargate"
    assert "`lambda` is not one of fargate, ec2, eks" in refused(file, "prod").public


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("prd", "there is no environment `prd`: did you mean `prod`?"),
        ("zzz", "there is no environment `zzz`: the environments are dev, prod"),
    ],
)
def test_an_unknown_environment_is_refused(tmp_path: Path, asked: str, message: str) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_text("slipway: 1\nname: a\nenvironments: {dev: {}, prod: {}}\n")
    assert [p.message for p in refused(file, asked).problems] == [message]


def test_an_environment_of_a_manifest_without_any_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_text("slipway: 1\nname: a\n")
    assert "the manifest declares none under `environments`" in refused(file, "dev").public


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("environments: [dev]", "3:1 environments", "names of environments are due here"),
        ("environments: {dev: 5}", "3:16 environments.dev", "keys and values are due here"),
        ("environments: {dev: {environments: {}}}", "3:22 environments.dev.environments", "environments do not nest"),
        ("environments: {dev: {slipway: 1}}", "3:22 environments.dev.slipway", "cannot override `slipway`"),
        ("environments: {De.v: {}}", '3:16 environments."De.v"', "cannot be the name of an environment"),
        ("ttl: 7d", "3:1 ttl", "`ttl` belongs to an environment"),
        ("environments: {dev: {share: dev}}", "3:22 environments.dev.share", "cannot share its own network"),
        ("environments: {dev: {share: prd}, prod: {}}", "3:22 environments.dev.share", "did you mean `prod`?"),
        (
            "environments: {dev: {share: pre}, pre: {template: true, ttl: 7d, share: x}, x: {}}",
            "3:22 environments.dev.share",
            "`pre` is a template, which does not stay",
        ),
        (
            "environments: {pre: {template: true, ttl: 7d}}",
            "3:22 environments.pre.template",
            "each of them would pay for a network of its own: write share:",
        ),
        (
            "environments: {dev: {}, pre: {template: true, share: dev}}",
            "3:31 environments.pre.template",
            "nobody would end them: write ttl: 7d",
        ),
        (
            "environments: {dev: {region: us-east-1}, pre: {template: true, ttl: 7d, share: dev, region: us-west-2}}",
            "3:85 environments.pre.region",
            "`dev` lies in us-east-1, and a network is shared in its own region",
        ),
        (
            "recovery: {region: us-west-2}\nenvironments: {dr: {region: us-west-2}}", "3:12 recovery.region",
            "us-west-2 is the region that would be lost",
        ),
    ],
)  # fmt: skip
def test_what_an_environment_may_not_say(problems, text: str, place: str, message: str) -> None:
    told = problems(text)
    assert len(told) == 1, told
    assert told[0].startswith(f"{place}: ")
    assert message in told[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: None, "there is no such file: `slipway init` writes one"),
        (lambda file: file.mkdir(), "this is a folder: name the file in it"),
        (lambda file: file.write_bytes(b"a: 1\nb: caf\xe9\n"), "the file is not UTF-8: save it as UTF-8"),
        (lambda file: file.write_bytes(b"# " + b"x" * (1 << 20)), "the file is larger than 1 MiB"),
        (lambda file: file.write_bytes(b""), "the file is empty"),
        (lambda file: file.write_text("just words"), "a manifest is keys and values"),
        (lambda file: file.write_text("a: [1"), "this is not YAML"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, make, message: str) -> None:
    file = tmp_path / "slipway.yaml"
    make(file)
    problems = refused(file)
    assert problems.unreadable
    assert message in problems.public
    assert str(file) in problems.public


def test_the_place_of_a_byte_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_bytes(b"a: 1\nb: caf\xe9\n")
    assert (refused(file).problems[0].line, refused(file).problems[0].column) == (2, 7)


def test_what_the_system_says_about_a_file_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no folder")
    assert "the file cannot be read: Not a directory" in refused(tmp_path / "plain" / "slipway.yaml").public


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "slipway.yaml"
    file.write_bytes(b"\xef\xbb\xbfslipway: 1\nname: a\n")
    assert load(file).manifest.name == "a"


def test_the_default_manifest_is_what_its_own_data_builds() -> None:
    manifest = default_manifest()
    assert manifest.component_order() == ("identity", "gateway", "retrieval", "memory", "chat")
    assert (manifest.models.default, manifest.models.embeddings) == ("extractive", "all-minilm-l6-v2")
    assert build(manifest.model_dump(mode="json")) == manifest


def test_build_refuses_what_a_file_would_be_refused_for() -> None:
    with pytest.raises(ManifestProblems, match="there is no key `nam` here: did you mean `name`"):
        build({"slipway": 1, "nam": "x"})


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        default_manifest().name = "other"


def test_a_key_that_looks_like_the_validators_own_mark_is_an_unknown_key(problems) -> None:
    told = problems("'[key]': {}\n")
    assert len(told) == 1
    assert told[0].startswith("3:1 [key]: there is no key `[key]` here: the keys are slipway, name, ")


TEXTS = ["", "x", "$5", "80%", "7d", "a\0b", "é" * 200]
NESTED = [[], {}, [1], [None], {"a": 1}, {"": 1}, [{}], [[]], {"[key]": {}}, {"x": {"y": {}}}]
PIECES = st.sampled_from([None, True, 0, -1, 10**17, 1.5, *TEXTS, *NESTED])


def paths(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_whatever_is_written_into_the_example_it_holds_or_every_problem_has_a_line_and_a_sentence(data) -> None:
    mutated = copy.deepcopy(EXAMPLE)
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(list(paths(mutated))))
        spot = mutated
        for part in above:
            spot = spot[part]
        if isinstance(spot, dict) and data.draw(st.booleans()):
            spot[f"{last}{data.draw(st.sampled_from(['', 's', '-x', '.b']))}"] = spot.pop(last)
        else:
            spot[last] = data.draw(PIECES)
    try:
        assert parse(json.dumps(mutated)).check()
    except ManifestProblems as refused:
        assert refused.problems
        assert all(problem.line >= 1 and problem.message for problem in refused.problems)
        assert not any("Input should" in problem.message for problem in refused.problems)
