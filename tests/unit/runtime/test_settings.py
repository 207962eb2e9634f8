"""Settings: from the environment once, every wrong variable named, no secret repeated."""

from pathlib import Path

import pytest

from slipway.base.errors import Misconfigured
from slipway.runtime.settings import Settings, cache_folder, client_settings, secret_from_environment


def test_variables_then_the_command_line_on_top():
    environ = {"SLIPWAY_HOME": "/somewhere", "SLIPWAY_PORT": "1234", "SLIPWAY_LOG_LEVEL": "debug", "PATH": "/bin"}
    settings = Settings.from_environment({"port": 0, "host": None}, environ)
    assert (settings.home, settings.port, settings.host) == (Path("/somewhere"), 0, "127.0.0.1")
    assert settings.log_level == "debug"


def test_an_empty_variable_is_as_good_as_none():
    assert Settings.from_environment(environ={"SLIPWAY_PORT": "", "SLIPWAY_DATABASE_URL": ""}) == Settings()


def test_every_wrong_variable_is_named_at_once():
    environ = {"SLIPWAY_PROT": "8700", "SLIPWAY_PORT": "many", "SLIPWAY_DRAIN_TIMEOUT_S": "0"}
    with pytest.raises(Misconfigured) as caught:
        Settings.from_environment(environ=environ)
    for name in environ:
        assert name in caught.value.public
    assert "docs/settings.md" in caught.value.public
    assert "SLIPWAY_PROT: there is no such setting" in caught.value.public


def test_secrets_are_neither_shown_nor_repeated_in_an_error():
    environ = {"SLIPWAY_DATABASE_URL": "postgresql://u:hush@h/d", "SLIPWAY_SECRET_KEY": "hush" * 10}
    settings = Settings.from_environment(environ=environ)
    assert "hush" not in repr(settings)
    assert "hush" not in settings.model_dump_json()
    with pytest.raises(Misconfigured) as caught:
        Settings.from_environment({"port": "hush"}, environ | {"SLIPWAY_INGESTION_WORKERS": "hush"})
    assert "hush" not in str(caught.value)


def test_the_command_lines_own_variables_are_no_settings_of_a_server():
    environ = {"SLIPWAY_URL": "http://x", "SLIPWAY_API_KEY": "k"}
    assert Settings.from_environment(environ=environ) == Settings()
    assert client_settings(environ) == ("http://x", "k")
    assert client_settings({"SLIPWAY_URL": ""}) == (None, None)


def test_the_standard_variable_of_opentelemetry_counts_unless_ours_is_set():
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://standard"}
    assert Settings.from_environment(environ=environ).otlp_endpoint == "http://standard"
    both = environ | {"SLIPWAY_OTLP_ENDPOINT": "http://ours"}
    assert Settings.from_environment(environ=both).otlp_endpoint == "http://ours"


def test_peers_by_the_name_of_the_part():
    settings = Settings.from_environment(environ={"SLIPWAY_GATEWAY_URL": "http://gateway"})
    assert settings.peer_url("gateway") == "http://gateway"
    assert settings.peer_url("memory") is None
    assert settings.peer_url("no-such-part") is None


def test_a_providers_secret_by_its_variable():
    assert secret_from_environment("KEY", {"KEY": "k"}) == "k"
    assert secret_from_environment("KEY", {"KEY": ""}) is None


def test_redis_by_its_url_or_by_its_parts():
    parts = {"SLIPWAY_REDIS_HOST": "cache.example", "SLIPWAY_REDIS_TOKEN": "a/b"}
    assert Settings.from_environment(environ=parts).redis_address() == "rediss://:a%2Fb@cache.example:6379"
    assert Settings.from_environment(environ={"SLIPWAY_REDIS_URL": "redis://x"}).redis_address() == "redis://x"
    assert Settings().redis_address() is None


@pytest.mark.parametrize("chosen", [{}, {"XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": "relative"}])
def test_what_can_be_found_out_again_is_kept_in_the_users_cache(chosen: dict[str, str]):
    assert cache_folder(chosen) == Path.home() / ".cache" / "slipway"
    assert cache_folder({"XDG_CACHE_HOME": "/elsewhere"}) == Path("/elsewhere/slipway")
