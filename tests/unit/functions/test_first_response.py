"""A named failure is answered at once, and whatever was done is told."""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from slipway.base.errors import InvalidRequest, Misconfigured
from slipway.functions import first_response
from slipway.functions.first_response import Responder

TOPIC = "arn:aws:sns:us-east-1:123456789012:info"
RESPONDER = Responder("assistant-prod", "cluster", {"gateway": "gateway-service"}, TOPIC)


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Stubber]:
    made = {
        name: boto3.client(name, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        for name in ("ecs", "sns")
    }
    found = {name: Stubber(each) for name, each in made.items()}
    monkeypatch.setattr(first_response, "client", made.__getitem__)
    for stub in found.values():
        stub.activate()
    yield found
    for name, stub in found.items():
        stub.assert_no_pending_responses()
        made[name].close()


def told(stubs: dict[str, Stubber], alarm: str, message: str) -> None:
    stubs["sns"].add_response(
        "publish", {}, {"TopicArn": TOPIC, "Subject": f"First response to {alarm}", "Message": message}
    )


def found(*deployments: str) -> dict[str, Any]:
    return {"services": [{"deployments": [{"id": each} for each in deployments]}]}


ASKED = {"cluster": "cluster", "services": ["gateway-service"]}


@pytest.mark.parametrize("kind", ["unavailable", "memory"])
def test_copies_that_do_not_serve_are_replaced(stubs: dict[str, Stubber], kind: str) -> None:
    stubs["ecs"].add_response("describe_services", found("one"), ASKED)
    stubs["ecs"].add_response(
        "update_service", {}, {"cluster": "cluster", "service": "gateway-service", "forceNewDeployment": True}
    )
    said = "gateway: all its copies are being replaced."
    told(stubs, f"assistant-prod-gateway-{kind}", said)
    assert RESPONDER.respond(f"assistant-prod-gateway-{kind}") == said


def test_a_deployment_under_way_is_left_alone(stubs: dict[str, Stubber]) -> None:
    stubs["ecs"].add_response("describe_services", found("new", "old"), ASKED)
    told(stubs, "assistant-prod-gateway-unavailable", "gateway: a deployment is under way, nothing was done.")
    RESPONDER.respond("assistant-prod-gateway-unavailable")


def test_what_cannot_be_done_is_told(stubs: dict[str, Stubber]) -> None:
    stubs["ecs"].add_client_error("describe_services", "AccessDeniedException")
    said = "gateway: its copies could not be replaced, somebody has to look."
    told(stubs, "assistant-prod-gateway-unavailable", said)
    assert RESPONDER.respond("assistant-prod-gateway-unavailable") == said


def test_an_alarm_without_a_response_is_told_to_be_one(stubs: dict[str, Stubber]) -> None:
    told(
        stubs,
        "assistant-prod-database-cpu",
        "assistant-prod-database-cpu: there is no automatic response, see its runbook.",
    )
    RESPONDER.respond("assistant-prod-database-cpu")
    with pytest.raises(InvalidRequest, match="no alarm of assistant-prod"):
        RESPONDER.respond("other-prod-gateway-unavailable")


@pytest.mark.parametrize("event", [{}, {"detail": None}, {"detail": {"state": {"value": "OK"}}}])
def test_only_an_alarm_that_went_off_is_an_event(event: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="went off"):
        first_response.handler(event, None)


def test_its_variables_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFIX", raising=False)
    with pytest.raises(Misconfigured, match="PREFIX"):
        first_response.handler({"detail": {"alarmName": "a", "state": {"value": "ALARM"}}}, None)
