"""The first response to a named failure, before anybody is awake: what a runbook would have them do first.

Called by EventBridge when an alarm of the platform goes off. Whatever it does, it tells the topic that it is given.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from slipway.base.errors import InvalidRequest
from slipway.functions.clients import client
from slipway.functions.environment import Environment

_UNAVAILABLE: Final = "-unavailable"
_MEMORY: Final = "-memory"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Responder:
    """`services` are the ECS services by workload, `prefix` is what alarms' names begin with."""

    prefix: str
    cluster: str
    services: Mapping[str, str]
    topic_arn: str

    def respond(self, alarm: str) -> str:
        """Does what the alarm asks for, and says it. Raises InvalidRequest for an alarm of somebody else."""
        if not alarm.startswith(f"{self.prefix}-"):
            raise InvalidRequest(f"{alarm!r} is no alarm of {self.prefix}.")
        workload = self._workload(alarm.removeprefix(f"{self.prefix}-"))
        said = (
            f"{alarm}: there is no automatic response, see its runbook." if workload is None else self._renew(workload)
        )
        client("sns").publish(TopicArn=self.topic_arn, Subject=f"First response to {alarm}"[:100], Message=said)
        return said

    def _workload(self, alarm: str) -> str | None:
        """The workload that an alarm is about, when its copies are to be replaced."""
        for ending in (_UNAVAILABLE, _MEMORY):
            if alarm.endswith(ending) and alarm.removesuffix(ending) in self.services:
                return alarm.removesuffix(ending)
        return None

    def _renew(self, workload: str) -> str:
        """Starts new copies beside the old ones; a deployment that is under way already is left alone."""
        ecs, service = client("ecs"), self.services[workload]
        try:
            [found] = ecs.describe_services(cluster=self.cluster, services=[service])["services"]
            if len(found["deployments"]) > 1:
                return f"{workload}: a deployment is under way, nothing was done."
            ecs.update_service(cluster=self.cluster, service=service, forceNewDeployment=True)
        except (BotoCoreError, ClientError, ValueError, KeyError) as error:
            _log.exception("no first response for %s", workload, exc_info=error)
            return f"{workload}: its copies could not be replaced, somebody has to look."
        return f"{workload}: all its copies are being replaced."


def handler(event: Mapping[str, Any], _context: object) -> str:
    """Responds to an event `CloudWatch Alarm State Change`; what is no alarm that went off is refused."""
    detail = event.get("detail")
    state = detail.get("state") if isinstance(detail, dict) else None
    if not isinstance(detail, dict) or not isinstance(state, dict) or state.get("value") != "ALARM":
        raise InvalidRequest("This is not the event of an alarm that went off.")
    environment = Environment()
    responder = Responder(
        environment.text("PREFIX"),
        environment.text("CLUSTER"),
        {name: str(service) for name, service in environment.mapping("SERVICES").items()},
        environment.text("TOPIC_ARN"),
    )
    return responder.respond(str(detail.get("alarmName")))
