"""client_encoding: texts are converted at the wire, both ways."""
import pytest

from client import ServerError, ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("encoding") / "app.db", "--auth", "trust") as s:
        with s.client() as c:
            c.query("CREATE TABLE t(id int PRIMARY KEY, words text); INSERT INTO t VALUES(1, 'grün €'), (2, 'grün')")
        yield s


def raw(client, sql):
    client.send(b"Q", sql + b"\0")
    return client.until_ready()


@pytest.mark.parametrize("name,codec,shown", [("LATIN1", "latin-1", "LATIN1"), ("latin9", "iso8859-15", "LATIN9"), ("WIN1252", "cp1252", "WIN1252"), ("'koi8-r'", "koi8-r", "KOI8R"), ("UTF8", "utf-8", "UTF8")])
def test_texts_come_and_go_in_the_clients_encoding(server, name, codec, shown):
    with server.client() as c:
        c.query(f"SET client_encoding = {name}")
        assert c.parameters["client_encoding"] == shown and c.query("SHOW client_encoding").rows == [(shown,)]
        word = "Привет" if codec == "koi8-r" else "grün"
        bytes_ = lambda v: v if isinstance(v, bytes) else v.encode("utf-8") if codec == "utf-8" else v.encode("latin-1")  # noqa: E731
        got = raw(c, f"SELECT '{word}', length('{word}')".encode(codec)).rows[0]
        assert bytes_(got[0]) == word.encode(codec) and bytes_(got[1]) == str(len(word)).encode()
        c.parse("SELECT $1::text || '!'")
        c.bind([word.encode(codec)])
        c.describe()
        c.run()
        assert bytes_(c.sync().rows[0][0]) == word.encode(codec) + b"!"


def test_what_has_no_equivalent_is_an_error_and_the_session_goes_on(server):
    with server.client(client_encoding="LATIN1") as c:
        with pytest.raises(ServerError) as e:
            c.query("SELECT * FROM t ORDER BY id")
        assert (e.value.sqlstate, e.value.fields["M"]) == ("22P05", 'character with byte sequence 0xe2 0x82 0xac in encoding "UTF8" has no equivalent in encoding "LATIN1"')
        assert c.query("SELECT id FROM t ORDER BY id").rows == [("1",), ("2",)]
        c.query("SET client_encoding = UTF8")
        assert c.query("SELECT * FROM t WHERE id = 1").rows == [("1", "grün €")]
        with pytest.raises(ServerError) as e:
            c.query("SET client_encoding = 'martian'")
        assert e.value.sqlstate == "22023"


def test_copy_converts(server):
    with server.client(client_encoding="WIN1252") as c:
        raw(c, b"COPY t FROM STDIN")
        c.send(b"d", "7\tÄ€\n".encode("cp1252"))
        c.send(b"c")
        c.until_ready()
        assert c.query("SELECT length(\"gr\" || 'x') FROM (SELECT 'ab' AS gr) x").rows == [("3",)]
    with server.client() as c:
        assert c.query("SELECT * FROM t WHERE id = 7").rows == [("7", "Ä€")]
