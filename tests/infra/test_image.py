"""The image as its Dockerfile states it, beside what task definitions and manifests say of it.

That it is laid out and runs is `tests/services/test_image.py`.
"""

import re
from pathlib import Path

import pytest

from slipway.infra.constructs.image_builder import BASE_IMAGE, TAG_PATTERN
from slipway.infra.constructs.image_repository import HEALTH_COMMAND, repository_name
from slipway.infra.topology import COMPONENT_PORT
from tests.images import Step, steps_of

ROOT = Path(__file__).parents[2]
STEPS = tuple(steps_of((ROOT / "Dockerfile").read_text()))
FINAL = STEPS[max(index for index, step in enumerate(STEPS) if step.name == "FROM") :]


def only(name: str) -> Step:
    [found] = [step for step in FINAL if step.name == name]
    return found


@pytest.mark.requirement("CMP-09", "T")
def test_it_runs_as_a_user_without_rights_and_writes_to_its_volumes_alone() -> None:
    assert only("USER").rest == "10001:10001"
    assert only("VOLUME").words() == ["/var/lib/slipway", "/tmp"]
    assert only("ENTRYPOINT").words() == ["slipway"]
    assert only("CMD").words() == ["serve"]
    assert only("EXPOSE").rest == str(COMPONENT_PORT)


def test_the_health_check_is_the_one_that_task_definitions_have() -> None:
    command = Step("CMD", {}, only("HEALTHCHECK").rest.partition("CMD ")[2]).words()
    assert ("CMD", *command) == HEALTH_COMMAND
    assert str(COMPONENT_PORT) in command[-1]


def test_packages_come_by_hash_from_the_locks_and_the_base_may_be_named_by_digest() -> None:
    arguments = [step.rest for step in STEPS if step.name == "ARG"]
    assert arguments == ["PYTHON_IMAGE=python:3.11-slim-bookworm"]
    assert [step.rest.partition(" ")[0] for step in STEPS if step.name == "FROM"] == ["${PYTHON_IMAGE}"] * 2
    assert BASE_IMAGE.rpartition("/")[2] == arguments[0].partition("=")[2]
    for step in STEPS:
        for command in re.findall(r"install [^&]*", step.rest) if step.name == "RUN" else ():
            if "groupadd" not in step.rest:
                assert "--require-hashes" in command or "--no-index" in command, command


def test_what_is_sent_to_an_engine_holds_no_state_and_no_secret() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} == {
        "!LICENSE",
        "!README.md",
        "!pyproject.toml",
        "!requirements/build.lock",
        "!requirements/serve.lock",
        "!src",
    }


@pytest.mark.parametrize(
    ("tag", "fine"),
    [
        ("0123abc-20261126163500", True),
        ("0123456789abcdef0123456789abcdef01234567-20261126163500", True),
        ("latest", False),
        ("0123abc", False),
        ("0123abc-2026", False),
    ],
)
def test_a_tag_is_commit_and_time(tag: str, fine: bool) -> None:
    assert bool(re.fullmatch(TAG_PATTERN, tag)) == fine


def test_repositories_have_the_platforms_name() -> None:
    assert repository_name("rag-assistant") == "rag-assistant/platform"
    assert repository_name("microservices", "backend") == "microservices/backend"
