"""What a provider's failures become: the class stays, the key goes."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from slipway.base.errors import (
    DeadlineExceeded,
    InvalidRequest,
    LimitExceeded,
    TooLarge,
    Unavailable,
    UpstreamFailed,
)
from slipway.services.gateway.upstream_errors import answered, event_failed

KEY = "sk-0123456789"


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (301, UpstreamFailed, False),
        (400, InvalidRequest, False),
        (401, UpstreamFailed, False),
        (403, UpstreamFailed, False),
        (404, UpstreamFailed, False),
        (408, DeadlineExceeded, True),
        (413, TooLarge, False),
        (422, InvalidRequest, False),
        (429, LimitExceeded, True),
        (500, UpstreamFailed, True),
        (503, Unavailable, True),
        (504, DeadlineExceeded, True),
        (529, Unavailable, True),
    ],
)
@pytest.mark.parametrize(
    "content",
    [
        b'{"error":{"message":"About sk-0123456789."}}',
        b'{"error":"About sk-0123456789."}',
        b'{"detail":"About sk-0123456789."}',
        b"[]",
        b"sk-0123456789",
        b"",
    ],
)
def test_each_status_keeps_its_class_and_no_message_has_the_key(status, kind, retryable, content):
    error = answered(status, {}, content, KEY)
    assert type(error) is kind and error.retryable is retryable
    assert error.public and KEY not in str(error)


def test_a_refusal_of_our_key_repeats_nothing_of_the_providers():
    error = answered(401, {}, b'{"error":{"message":"Incorrect API key provided: sk-01***789."}}', KEY)
    assert "sk-" not in str(error)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0", 0), ("1.5", 1.5), ("-3", 0), ("99999999", 3600), ("nan", None), ("soon", None), ("", None)],
)
def test_retry_after_in_seconds(header, seconds):
    assert answered(503, {"retry-after": header}, b"", None).retry_after_s == seconds


def test_retry_after_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < answered(503, {"retry-after": date}, b"", None).retry_after_s <= 30


def test_money_that_is_used_up_is_not_asked_again():
    error = answered(429, {}, b'{"error":{"message":"No.","code":"insufficient_quota"}}', None)
    assert not error.retryable and error.retry_after_s is None


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "insufficient_quota"])
def test_a_limit_of_the_provider_is_told_in_our_words_and_its_own_stay_here(code):
    content = b'{"error":{"message":"Rate limit reached in organization org-1 on tokens","code":"%b"}}' % code.encode()
    error = answered(429, {}, content, None)
    assert "org-1" not in error.public and "org-1" in error.detail
    assert "org-1" not in event_failed("throttlingException", content).public


def test_each_sentence_says_whose_it_is_and_what_to_do():
    assert answered(429, {"retry-after": "7"}, b"", None).public == (
        "The model's provider allows this platform no more requests for now: try again in 7 s."
    )
    for status in (401, 404):
        assert "api_key_env, base_url and id in the manifest" in answered(status, {}, b"", None).public


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("throttlingException", LimitExceeded),
        ("validationException", InvalidRequest),
        ("serviceUnavailableException", Unavailable),
        ("modelStreamErrorException", UpstreamFailed),
        ("", UpstreamFailed),
    ],
)
def test_what_bedrock_announces_within_a_stream(kind, error):
    announced = event_failed(kind, b'{"message":"The model broke."}')
    assert type(announced) is error
    assert (announced.public == "The model broke.") is (error is not LimitExceeded)
