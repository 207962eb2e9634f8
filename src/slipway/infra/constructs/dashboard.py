"""One dashboard in sections, each a heading and its graphs side by side."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import aws_cloudwatch
from constructs import Construct

from slipway.infra.constructs.alarms import Metric

_WIDTH, _HEIGHT = 8, 6  # of a graph, in the grid of 24 columns
_COLUMNS: Final = 24


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph with a line for each metric, by its label."""

    title: str
    metrics: Mapping[str, Metric]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its graphs; `alarms` are shown as a row of lights under it."""

    title: str
    graphs: Sequence[Graph]
    alarms: Sequence[str] = ()


class Dashboard(Construct):
    """A dashboard of CloudWatch."""

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, region: str, sections: Sequence[Section]
    ) -> None:
        """`alarms` of a section are ARNs, which may be tokens."""
        super().__init__(scope, construct_id)
        body = {"widgets": list(_widgets(region, sections))}
        aws_cloudwatch.CfnDashboard(
            self, "Dashboard", dashboard_name=name, dashboard_body=json.dumps(body, separators=(",", ":"))
        )


def _widgets(region: str, sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    y = 0
    for section in sections:
        yield _widget("text", 0, y, _COLUMNS, 1, {"markdown": f"## {section.title}"})
        y += 1
        if section.alarms:
            yield _widget("alarm", 0, y, _COLUMNS, 2, {"title": "Alarms", "alarms": list(section.alarms)})
            y += 2
        per_row = _COLUMNS // _WIDTH
        for index, graph in enumerate(section.graphs):
            row, column = divmod(index, per_row)
            yield _widget(
                "metric", column * _WIDTH, y + row * _HEIGHT, _WIDTH, _HEIGHT, _graph_properties(region, graph)
            )
        y += -(-len(section.graphs) // per_row) * _HEIGHT


def _widget(kind: str, x: int, y: int, width: int, height: int, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "x": x, "y": y, "width": width, "height": height, "properties": properties}


def _graph_properties(region: str, graph: Graph) -> dict[str, Any]:
    lines = [
        [
            metric.namespace,
            metric.name,
            *(part for pair in metric.dimensions.items() for part in pair),
            {"label": label, "stat": metric.statistic, "period": metric.period_s},
        ]
        for label, metric in graph.metrics.items()
    ]
    return {
        "title": graph.title,
        "view": "timeSeries",
        "region": region,
        "metrics": lines,
        "yAxis": {"left": {"label": graph.unit, "min": 0}},
    }
