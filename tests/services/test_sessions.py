"""Sessions: messages only ever grow, in one order, and are seen by whom they should be."""

import asyncio

import httpx
import psycopg
import pytest
from psycopg import errors

from slipway.api.sessions import MessageRequest
from slipway.base.callers import Caller, Role, Scope
from slipway.base.errors import NotFound
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.services.memory.adapter_postgres import PostgresSessions
from tests.platforms import Platform

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(database: Database) -> PostgresSessions:
    return PostgresSessions(database)


def member_of(caller: Caller) -> Caller:
    return Caller(caller.tenant_id, new_id("usr"), frozenset(Scope), Role.MEMBER)


async def test_messages_that_arrive_at_once_get_one_order(store: PostgresSessions, new_caller):
    caller = new_caller()
    session = await store.session_create(caller, "race")
    texts = [f"message {number}" for number in range(30)]
    appended = await asyncio.gather(
        *(store.message_append(caller, session.id, MessageRequest(role="user", content=text)) for text in texts)
    )
    assert sorted(message.sequence for message in appended) == list(range(1, 31))
    listed = (await store.message_list(caller, session.id, 0, 100)).items
    assert [message.sequence for message in listed] == list(range(1, 31))
    assert {message.content for message in listed} == set(texts)
    assert (await store.session_view(caller, session.id)).message_count == 30


async def test_the_same_key_appends_once_also_at_the_same_moment(store: PostgresSessions, new_caller):
    caller = new_caller()
    session = await store.session_create(caller, "")
    request = MessageRequest(role="user", content="once", idempotency_key="k1")
    appended = await asyncio.gather(*(store.message_append(caller, session.id, request) for _ in range(10)))
    assert len({message.id for message in appended}) == 1
    assert (await store.session_view(caller, session.id)).message_count == 1


async def test_pages_go_through_everything_once(store: PostgresSessions, new_caller):
    caller = new_caller()
    made = [(await store.session_create(caller, str(number))).id for number in range(7)]
    seen, cursor = [], None
    while True:
        page = await store.session_list(caller, cursor, 3)
        seen += [session.id for session in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == made[::-1]


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/documents", "/v1/usage"])
@pytest.mark.parametrize("cursor", ["zzz", "ten_01m7xyjv5qe008n9nh8w9c825n"])
def test_a_cursor_that_no_page_gave_is_refused(platform: Platform, path: str, cursor: str):
    answer = httpx.get(platform.url + path, params={"cursor": cursor}, headers=platform.headers())
    assert answer.status_code == 400
    assert "leave it out for the first page" in answer.text


async def test_a_member_sees_its_own_sessions_and_the_administrator_all(store: PostgresSessions, new_caller):
    administrator = new_caller()
    alice, bob = member_of(administrator), member_of(administrator)
    session = await store.session_create(alice, "alice's")
    for refused in (
        store.session_view(bob, session.id),
        store.message_append(bob, session.id, MessageRequest(role="user", content="x")),
        store.message_list(bob, session.id, 0, 10),
        store.session_delete(bob, session.id),
    ):
        with pytest.raises(NotFound):
            await refused
    assert (await store.session_list(bob, None, 10)).items == []
    assert [item.id for item in (await store.session_list(administrator, None, 10)).items] == [session.id]


async def test_another_tenant_sees_nothing(store: PostgresSessions, new_caller):
    mine, theirs = new_caller(), new_caller()
    session = await store.session_create(mine, "private")
    with pytest.raises(NotFound):
        await store.session_view(theirs, session.id)
    assert (await store.session_list(theirs, None, 10)).items == []


async def test_deleting_a_session_takes_its_messages(store: PostgresSessions, new_caller, postgres):
    caller = new_caller()
    session = await store.session_create(caller, "")
    await store.message_append(caller, session.id, MessageRequest(role="user", content="gone soon"))
    await store.session_delete(caller, session.id)
    with pytest.raises(NotFound):
        await store.session_view(caller, session.id)
    with psycopg.connect(postgres.app_url) as connection:
        connection.execute("SELECT set_config('slipway.tenant', %s, false)", (caller.tenant_id,))
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (0,)


@pytest.mark.parametrize("statement", ["UPDATE message SET content = 'forged'", "DELETE FROM message"])
async def test_the_application_itself_cannot_change_a_message(store, new_caller, postgres, statement: str):
    caller = new_caller()
    session = await store.session_create(caller, "")
    await store.message_append(caller, session.id, MessageRequest(role="user", content="said"))
    with psycopg.connect(postgres.app_url) as connection:
        connection.execute("SELECT set_config('slipway.tenant', %s, false)", (caller.tenant_id,))
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement)
