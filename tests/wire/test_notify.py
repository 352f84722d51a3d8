"""LISTEN and NOTIFY between sessions."""
import struct

import pytest

from client import ServerError, ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("notify") / "app.db", "--auth", "trust") as s:
        yield s


def notification(client):
    kind, body = client.receive()
    assert kind == b"A", kind
    channel, payload = body[4:-1].split(b"\0")
    return struct.unpack_from("!I", body)[0], channel.decode(), payload.decode()


def process(client):
    return struct.unpack_from("!I", client.key)[0]


def test_an_idle_session_hears_at_once_and_who_it_was(server):
    with server.client() as a, server.client() as b, server.client() as deaf:
        assert a.query("LISTEN news").tag == "LISTEN"
        assert b.query("NOTIFY news, 'one'").tag == "NOTIFY"
        assert notification(a) == (process(b), "news", "one")
        b.query("SELECT pg_notify('news', 'two'), pg_notify('other', 'x')")
        assert notification(a) == (process(b), "news", "two")
        b.query("NOTIFY news")
        assert notification(a) == (process(b), "news", "")
        assert deaf.query("SELECT 1").rows == [("1",)]


def test_notifications_come_with_the_commit_once_and_in_order(server):
    with server.client() as a, server.client() as b:
        a.query('LISTEN "Mixed"; LISTEN news')
        b.query("BEGIN; NOTIFY news, 'a'; NOTIFY news, 'b'; NOTIFY news, 'a'; NOTIFY \"Mixed\", 'c'; ROLLBACK")
        b.query("BEGIN; NOTIFY news, 'a'; NOTIFY news, 'b'; NOTIFY news, 'a'; NOTIFY \"Mixed\", 'c'")
        assert a.query("SELECT 1").tag == "SELECT 1"  # nothing came before the commit
        b.query("COMMIT")
        assert [notification(a)[1:] for _ in range(3)] == [("news", "a"), ("news", "b"), ("Mixed", "c")]


def test_a_session_in_a_transaction_hears_at_its_end(server):
    with server.client() as a, server.client() as b:
        a.query("LISTEN news; BEGIN")
        b.query("NOTIFY news, 'late'")
        assert a.query("SELECT 1").rows == [("1",)]
        a.send(b"Q", b"COMMIT\0")
        assert a.receive()[0] == b"C"
        assert notification(a)[2] == "late"
        assert a.receive()[0] == b"Z"


def test_own_notifications_unlisten_and_bad_names(server):
    with server.client() as a:
        a.query("LISTEN news")
        a.send(b"Q", b"NOTIFY news, 'me'\0")
        assert [a.receive()[0] for _ in range(3)] == [b"C", b"A", b"Z"]
        a.query("UNLISTEN news")
        a.send(b"Q", b"NOTIFY news, 'me'\0")
        assert [a.receive()[0] for _ in range(2)] == [b"C", b"Z"]
        a.query("LISTEN x; LISTEN y; UNLISTEN *; NOTIFY x; NOTIFY y")
        for sql, state in [("NOTIFY", "42601"), ("LISTEN 'x'", "42601"), ("SELECT pg_notify('', 'x')", "22023"), ("SELECT pg_notify('c', repeat('x', 8000))", "22023")]:
            with pytest.raises(ServerError) as e:
                a.query(sql)
            assert e.value.sqlstate == state
