"""Previews stand in their host's network and on its listener: what they say of both is what the host makes."""

import pytest

HOST = "{region: us-east-1}"
PREVIEW = "template: true, ttl: 7d, share: dev"
DOMAIN = "domain: {name: a.example.com, zone_id: Z0123456789EXAMPLE}"
WEB = "image: ./web, port: 80"


def told(problems, text: str) -> str:
    found = problems(text)
    assert len(found) == 1, found
    return found[0].split(" ", 1)[1]


def of(host: str, preview: str = "", base: str = "") -> str:
    return f"{base}environments:\n  dev: {{{host}}}\n  pre: {{{PREVIEW}{', ' if preview else ''}{preview}}}\n"


@pytest.mark.parametrize(
    ("host", "preview"),
    [
        ("", ""),
        ("region: us-east-1", "region: us-east-1"),
        ("network: {azs: 3}", "network: {azs: 3}"),
        ("network: {nat: per-az}", "network: {nat: single}"),  # the preview uses what there is
        ("network: {endpoints: [s3, ecr]}", "network: {endpoints: [ecr]}"),
        ("", "network: {flow_logs: false, acls: true}"),
        (f"edge: {{{DOMAIN}}}", f"edge: {{{DOMAIN}, waf: true}}"),
    ],
)
def test_what_fits_its_host_is_accepted(problems, host: str, preview: str) -> None:
    assert problems(of(host, preview)) == []


@pytest.mark.parametrize(
    ("host", "preview", "message"),
    [
        (
            "network: {azs: 3}",
            "",
            "network.azs: this is 2, and the network of `dev`, which is used here, has 3",
        ),
        ("", "network: {cidr: 10.9.0.0/16}", "network.cidr: this is 10.9.0.0/16, and the network of `dev`"),
        (
            "",
            "network: {tiers: [public, private, isolated]}",
            (
                "network.tiers: this is [public, private, isolated], and the network of `dev`, which is used here, has "
                "[public, private]"
            ),
        ),
        (
            "",
            "network: {endpoints: [s3, ecr]}",
            "network.endpoints: `dev` makes the endpoints that are used here, and has none of ecr: add them there",
        ),
        (
            "network: {nat: none, endpoints: [s3, ecr, logs, secrets]}",
            "network: {endpoints: [s3]}",
            "network.nat: this is single, and `dev`, whose way out is used here, has nat: none",
        ),
        (
            f"edge: {{{DOMAIN}}}",
            "",
            (
                "edge.domain: previews answer below the domain of `dev`, which its certificate is for, and that is "
                "a.example.com, not none: write domain: {name: a.example.com, …}"
            ),
        ),
        (
            "",
            f"edge: {{{DOMAIN}}}",
            (
                "edge.domain: previews answer below the domain of `dev`, which its certificate is for, and that is "
                "none, not a.example.com: leave domain out"
            ),
        ),
        (
            f"edge: {{{DOMAIN}, api_gateway: false}}",
            f"edge: {{{DOMAIN}}}",
            "edge.api_gateway: the load balancer of `dev` stands on the internet: write api_gateway: false",
        ),
        (
            "",
            f"services: {{web: {{{WEB}, route: /*, exposure: internal}}}}",
            "share: parts here have internal routes, and `dev` has none and so no load balancer for them",
        ),
    ],
)
def test_what_its_host_has_otherwise_is_refused(problems, host: str, preview: str, message: str) -> None:
    assert message in told(problems, of(host, preview))


def test_a_base_that_only_the_host_overrides_is_told_where_the_preview_has_it(problems) -> None:
    """As a plan of the preview would import subnets that dev does not export."""
    message = told(problems, of("network: {azs: 1}", base="network: {azs: 3}\n"))
    assert "network.azs: this is 3, and the network of `dev`, which is used here, has 1" in message


def test_an_existing_network_is_shared_by_its_subnets(problems) -> None:
    vpc = "network: {vpc: vpc-0123456789abcdef0, subnets: {private: [subnet-0aaaaaaa1, subnet-0aaaaaaa2]}}"
    other = vpc.replace("aaa2", "aaa3")
    assert problems(of(vpc, vpc)) == []
    assert "network.subnets: this is " in told(problems, of(vpc, other))


def test_only_previews_share_and_one_kind_of_them_each_host(problems) -> None:
    lasting = "environments: {dev: {}, qa: {share: dev}}"
    assert "environments.qa.share: rules of two lasting environments on one listener would meet" in told(
        problems, lasting
    )
    two = of("") + f"  demo: {{{PREVIEW}}}\n"
    found = problems(two)
    assert len(found) == 2
    assert (
        "environments.pre.share: `demo` shares `dev` as well, and a pull request would have the same host name"
        in (found[0])
    )
    assert problems(two.replace("demo: {template: true, ttl: 7d, share: dev}", "demo: {}")) == []


def test_each_preview_has_no_more_rules_than_its_numbers_are_apart(problems) -> None:
    def text(count: int) -> str:
        services = "".join(f"  s{n}: {{{WEB}, route: /s{n}/*}}\n" for n in range(count))
        return f"components: {{}}\ndata: {{postgres: null}}\nservices:\n{services}{of('')}"

    assert problems(text(45)) == []
    assert "46 parts have routes, and each preview has 45 rules on the listener of `dev`: remove 1 routes" in told(
        problems, text(46)
    )
