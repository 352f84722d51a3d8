"""VECTOR columns over the wire: type, text and binary in both directions, the index behind ORDER BY."""
import struct

import pytest

from client import ServerError, ServerProcess


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("vectors") / "app.db", "--auth", "trust") as s, s.client() as c:
        c.query("CREATE TABLE v(id int PRIMARY KEY, e vector(3)); INSERT INTO v VALUES(1, '[1,2.5,-3]'), (2, '[0.1,0,1]'), (3, NULL)")
        yield c


def binary(*numbers):
    return struct.pack(f">HH{len(numbers)}f", len(numbers), 0, *numbers)


def test_text_and_binary_out(client):
    assert client.query("SELECT e FROM v ORDER BY id").rows == [("[1,2.5,-3]",), ("[0.1,0,1]",), (None,)]
    assert client.execute("SELECT e FROM v WHERE id = $1", ("1",), result_formats=(1,)).rows == [(binary(1, 2.5, -3),)]


def test_text_and_binary_in(client):
    assert client.execute("INSERT INTO v VALUES (7, $1) RETURNING e", ("[1,2,3]",)).rows == [("[1,2,3]",)]
    assert client.execute("INSERT INTO v VALUES (8, $1) RETURNING e", (binary(1, 2, 4),), formats=(1,)).rows == [("[1,2,4]",)]
    assert client.execute("SELECT id FROM v WHERE e IS NOT NULL ORDER BY e <-> $1 LIMIT 2", ("[1,2,3.9]",)).rows == [("8",), ("7",)]
    with pytest.raises(ServerError) as e:
        client.query("INSERT INTO v VALUES (9, '[1,2]')")
    assert e.value.sqlstate == "22P02"


def test_the_type_is_in_the_catalog(client):
    assert client.query("SELECT format_type(atttypid, atttypmod), typname FROM pg_attribute JOIN pg_type t ON t.oid = atttypid "
                        "WHERE attrelid = 'v'::regclass AND attname = 'e'").rows == [("vector(3)", "vector")]
