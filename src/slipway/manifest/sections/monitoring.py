"""`monitoring`: what is watched, the values past which somebody is told, and who that is."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import Section
from slipway.manifest.units import Count, Duration, Money, Percent

_WHOLE = Percent(10_000)
_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]+@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}")
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_PAGER: Final = re.compile(r"[A-Z][A-Z0-9_]{0,79}")
# What CloudWatch Logs takes (PutRetentionPolicy, retentionInDays).
_LOG_DAYS: Final = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip


def channel_of(address: str) -> Literal["email", "sms", "pager"]:
    """How an address is reached; a pager's is the NAME of a secret that holds its URL."""
    if _EMAIL.fullmatch(address):
        return "email"
    return "sms" if _PHONE.fullmatch(address) else "pager"


def _checked_address(address: str) -> str:
    if not any(form.fullmatch(address) for form in (_EMAIL, _PHONE, _PAGER)):
        raise PydanticCustomError(
            "address",
            "nobody is reached by this: write an e-mail address, a telephone number like +15550100, or the NAME of a "
            "secret with a pager's URL like PAGER_URL (the URL carries its key, so it does not stand here)",
        )
    return address


Address = Annotated[str, Field(max_length=320), AfterValidator(_checked_address)]


class Alarms(Section):
    """Each alarm fires above its value."""

    latency: Duration = Field(default=Duration(5_000), description="Time of an API request (p95).")
    error_rate: Percent = Field(default=Percent(500), description="Requests answered with 5xx.")
    cpu: Percent = Field(default=Percent(8_000), description="CPU of a component.")
    memory: Percent = Field(default=Percent(8_000), description="Memory of a component.")
    disk: Percent = Field(default=Percent(8_000), description="Disk of an instance, a search node or a volume.")
    db_connections: Percent = Field(default=Percent(8_000), description="Connections of those the database allows.")
    db_failures: Count = Field(default=Count(5), description="Connections to the database that failed in 5 minutes.")
    auth_failures: Count = Field(default=Count(100), description="Refused sign-ins and tokens in 5 minutes.")
    cost_per_session: Money = Field(default=Money(50_000), description="Model costs of one session.")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        shares = ("error_rate", "cpu", "memory", "disk", "db_connections")
        above = [name for name in shares if getattr(self, name) > _WHOLE]
        if above:
            raise PydanticCustomError(
                "alarm", "{names} above 100% would never fire: write at most 100%", {"names": ", ".join(above)}
            )
        return self


class Notify(Section):
    """Who is told. Information that needs nobody stands on the dashboard alone."""

    critical: tuple[Address, ...] = Field(
        default=(), description="Users are affected now: e-mail, telephone (SMS) or pager."
    )
    warning: tuple[Address, ...] = Field(default=(), description="Users will be affected: e-mail.")
    security: tuple[Address, ...] = Field(default=(), description="Findings about security, to people of their own.")

    @model_validator(mode="after")
    def _quiet(self) -> Self:
        if any(channel_of(address) != "email" for address in self.warning):
            raise PydanticCustomError(
                "notify", "a warning wakes nobody: write e-mail addresses, and move the others to critical"
            )
        return self


class ServiceObjectives(Section):
    """What the platform promises. An alarm fires when the errors that it allows are used up too fast."""

    availability: Percent = Field(default=Percent(9_990), description="Requests that are answered without a failure.")
    latency: Duration = Field(default=Duration(2_000), description="Average time of an answer.")
    errors: Percent = Field(default=Percent(100), description="Requests answered with 5xx, at most.")
    utilization: tuple[Percent, ...] = Field(
        default=(Percent(6_000), Percent(8_000)),
        min_length=2,
        max_length=2,
        description="How busy the tasks are: neither idle nor overloaded.",
    )
    window: Duration = Field(default=Duration.of(days=30), description="The time over which it is counted.")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not Percent(5_000) <= self.availability < _WHOLE:
            raise PydanticCustomError(
                "objectives", "availability is 50% to 99.99%: 100% would leave no failure to alarm on"
            )
        low, high = self.utilization
        if not low < high <= _WHOLE:
            raise PydanticCustomError("objectives", "utilization is low and high, like [60%, 80%]")
        if not Duration.of(days=1) <= self.window <= Duration.of(days=90):
            raise PydanticCustomError("objectives", "window is 1d to 90d")
        return self


class Monitoring(Section):
    """What is watched."""

    alarms: Alarms = Field(default=Alarms(), description="The values past which an alarm fires.")
    notify: Notify = Field(default=Notify(), description="Who is told.")
    objectives: ServiceObjectives = Field(default=ServiceObjectives(), description="What is promised to users.")
    synthetic_every: Duration | None = Field(
        default=Duration.of(minutes=5),
        description="How often the platform is asked from outside (1m to 1h); null: never.",
    )
    log_retention: Duration = Field(default=Duration.of(days=7), description="How long logs are kept.")
    tracing: bool = Field(default=True, description="Traces of requests (OpenTelemetry to X-Ray).")
    container_insights: bool = Field(default=True, description="CPU, memory and network of each task.")
    first_response: bool = Field(
        default=True, description="Answer the named failures by runbooks that run at once, before anybody is awake."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        every = self.synthetic_every
        if every is not None and (
            every.milliseconds % 60_000 or not Duration.of(minutes=1) <= every <= Duration.of(hours=1)
        ):
            raise PydanticCustomError("monitoring", "synthetic_every is whole minutes, 1m to 1h")
        days = Duration.of(days=1).milliseconds
        if self.log_retention.milliseconds % days or self.log_retention.days not in _LOG_DAYS:
            longer = next((each for each in _LOG_DAYS if each >= self.log_retention.days), _LOG_DAYS[-1])
            raise PydanticCustomError(
                "monitoring",
                "CloudWatch does not keep logs for {given}: write log_retention: {longer}d",
                {"given": str(self.log_retention), "longer": longer},
            )
        return self
