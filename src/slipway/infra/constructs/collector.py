"""The collector beside a task: it takes the task's traces to X-Ray and its metrics to CloudWatch.

AWS's distribution of the OpenTelemetry collector, by digest. The platform's parts count what CloudWatch is to know at
`/metrics`; services of the user's send OTLP, if they send anything.
"""

import json
from collections.abc import Sequence
from typing import Final

# Version 0.48.0, the digest of all architectures.
IMAGE: Final = (
    "public.ecr.aws/aws-observability/aws-otel-collector"
    "@sha256:9b28046359054b414f4ba76056ba4e8cffda2d53fbcee06171d7eeecd71326c3"
)
ENDPOINT: Final = "http://127.0.0.1:4318"
NAME: Final = "collector"
USER: Final = "4317"  # the image's own
HEALTH_COMMAND: Final = ("CMD", "/healthcheck")
CPU: Final = 64  # arbitrary: a share of the task's, for busy moments; it may use what is free
MEMORY_MIB: Final = 128  # a hard limit; `memory_limiter` refuses data at three quarters of it
_INTERVAL: Final = "60s"  # the resolution of CloudWatch's standard metrics


def configuration(
    *,
    workload: str,
    namespace: str,
    log_group: str,
    region: str,
    scraped_port: int | None,
    detectors: Sequence[str] = ("env", "ecs"),
) -> str:
    """The collector's configuration, as text. `scraped_port` is where the task has `/metrics`, if it does; `detectors`
    say what else they know of where it runs."""
    receivers: dict[str, object] = {"otlp": {"protocols": {"http": {"endpoint": "127.0.0.1:4318"}}}}
    sources = ["otlp"]
    if scraped_port is not None:
        job = {
            "job_name": workload,
            "scrape_interval": _INTERVAL,
            "metrics_path": "/metrics",
            "static_configs": [{"targets": [f"127.0.0.1:{scraped_port}"], "labels": {"Workload": workload}}],
        }
        receivers["prometheus"] = {"config": {"scrape_configs": [job]}}
        sources.append("prometheus")
    whole = {
        "extensions": {"health_check": {"endpoint": "127.0.0.1:13133"}},
        "receivers": receivers,
        "processors": {
            "resourcedetection": {"detectors": list(detectors)},
            "memory_limiter": {"check_interval": "1s", "limit_percentage": 75, "spike_limit_percentage": 20},
            "batch": {"timeout": "5s"},
        },
        "exporters": {
            "awsxray": {"region": region},
            "awsemf": {
                "region": region,
                "namespace": namespace,
                "log_group_name": log_group,
                "log_stream_name": f"{workload}/{{TaskId}}",
                "dimension_rollup_option": "NoDimensionRollup",
                # Sums over all tasks are what alarms ask for; a dimension for each task or tenant would be a metric,
                # and a price, of its own.
                "metric_declarations": [
                    {"dimensions": [["Workload"]], "metric_name_selectors": ["^slipway_.*"]},
                ],
            },
        },
        "service": {
            "extensions": ["health_check"],
            "pipelines": {
                "traces": {
                    "receivers": ["otlp"],
                    "processors": ["memory_limiter", "resourcedetection", "batch"],
                    "exporters": ["awsxray"],
                },
                "metrics": {
                    "receivers": sources,
                    "processors": ["memory_limiter", "resourcedetection", "batch"],
                    "exporters": ["awsemf"],
                },
            },
        },
    }
    return json.dumps(whole, sort_keys=True)
