"""Users over the wire: CREATE, ALTER, DROP ROLE, the password file at SIGHUP, channel binding; what a client may not reach."""
import hashlib
import shutil
import signal
import subprocess
import time

import pytest

from client import BINARY, Client, Gone, ServerError, ServerProcess, startup, text


def fails(client, sql, **fields):
    with pytest.raises(ServerError) as e:
        client.query(sql)
    assert {k: e.value.fields.get(k) for k in fields} == fields


def refused(server, user, password):
    with pytest.raises(ServerError) as e:
        server.client(user=user, password=password, database="app")
    assert e.value.sqlstate == "28P01"


def test_roles_log_in_with_their_passwords_and_outlive_the_server(tmp_path):
    with ServerProcess(tmp_path / "app.db", "--user", "boss", "--password", "pw") as s:
        with s.client(user="boss", password="pw", database="app") as c:
            assert c.query("CREATE ROLE ann LOGIN PASSWORD 'first'").tag == "CREATE ROLE"
            fails(c, "CREATE ROLE ann", C="42710", M='role "ann" already exists')
            fails(c, "ALTER ROLE nobody PASSWORD 'x'", C="42704", M='role "nobody" does not exist')
            c.query("CREATE USER mute")
            fails(c, "CREATE ROLE z VALID UNTIL '2030-01-01'", C="0A000")
            assert [r[0] for r in c.query("SELECT rolname FROM pg_roles ORDER BY 1").rows] == ["ann", "boss", "mute"]
            with s.client(user="ann", password="first", database="app") as ann:
                fails(ann, "CREATE ROLE other", C="42501")
                fails(ann, "ALTER ROLE mute PASSWORD 'x'", C="42501")
                fails(ann, "DROP ROLE mute", C="42501")
                ann.query("ALTER ROLE ann PASSWORD 'second'")
            refused(s, "ann", "first")
            for password in ("", "!", "x"):
                refused(s, "mute", password)
            c.query("ALTER USER mute WITH PASSWORD 'SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='")
            refused(s, "mute", "SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
            assert (tmp_path / "app.db-helios" / "users").stat().st_mode & 0o777 == 0o600
    with ServerProcess(tmp_path / "app.db", "--user", "boss", "--password", "pw") as s:
        with s.client(user="ann", password="second", database="app") as c:
            assert c.query("SELECT current_user").rows == [("ann",)]
        with s.client(user="boss", password="pw", database="app") as c:
            c.query("DROP ROLE ann, mute")
            assert c.query("DROP ROLE IF EXISTS ann").notices[0]["M"] == 'role "ann" does not exist, skipping'
        refused(s, "ann", "second")


def test_the_password_file_is_read_again_at_sighup(tmp_path):
    users = tmp_path / "users"
    add = lambda name, word: subprocess.run([BINARY, "passwd", users, name], input=word + "\n", text=True, check=True)  # noqa: E731
    add("ann", "one")
    with ServerProcess(tmp_path / "app.db", "--user", "ann", "--password-file", users) as s:
        s.client(user="ann", password="one", database="app").close()
        add("bob", "two")
        refused(s, "bob", "two")
        s.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 10
        while True:
            try:
                s.client(user="bob", password="two", database="app").close()
                break
            except ServerError:
                assert time.monotonic() < until
        with s.client(user="ann", password="one", database="app") as c:
            c.query("ALTER ROLE bob PASSWORD 'three'")
            assert users.read_text().count("\n") == 2
        refused(s, "bob", "two")
        s.client(user="bob", password="three", database="app").close()


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate")
def test_channel_binding(tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "9",
                    "-subj", "/CN=localhost"], check=True, capture_output=True)
    with ServerProcess(tmp_path / "app.db", "--password", "pw", "--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem") as s:
        def attempt(header, spoil=b"", mechanism="SCRAM-SHA-256-PLUS"):
            c = Client(port=s.port, connect=False, user="helios", password="pw")
            digest = hashlib.sha256(c.start_tls()).digest()
            c.raw(startup({"user": "helios", "database": "app"}))
            offer = c.expect(b"R")[1]
            assert offer[4:] == text("SCRAM-SHA-256-PLUS") + text("SCRAM-SHA-256") + b"\0"
            c.scram(mechanism, header, spoil or (digest if header.startswith("p") else b""))
            c.until_ready()
            return c
        with attempt("p=tls-server-end-point,,") as c:
            assert c.query("SELECT 1").rows == [("1",)]
        attempt("n,,", mechanism="SCRAM-SHA-256").close()
        for header, spoil, mechanism in (("p=tls-server-end-point,,", b"x" * 32, "SCRAM-SHA-256-PLUS"), ("y,,", b"", "SCRAM-SHA-256"), ("n,,", b"", "SCRAM-SHA-256-PLUS"),
                                         ("p=tls-unique,,", b"", "SCRAM-SHA-256-PLUS"), ("p=tls-server-end-point,,", b"", "SCRAM-SHA-256")):
            with pytest.raises((ServerError, Gone)):
                attempt(header, spoil, mechanism)


def test_a_client_names_no_files_of_the_server(tmp_path):
    with ServerProcess(tmp_path / "app.db", "--auth", "trust") as s:
        for dialect in ("postgres", "sqlite"):
            with s.client(heliosdb_dialect=dialect) as c:
                for sql in (f"ATTACH '{tmp_path}/other.db' AS o", "ATTACH 'file:other.db?mode=memory' AS o", f"VACUUM INTO '{tmp_path}/copy.db'"):
                    with pytest.raises(ServerError):
                        c.query(sql)
                c.query("ATTACH ':memory:' AS m")
        assert not (tmp_path / "other.db").exists() and not (tmp_path / "copy.db").exists()


def test_idle_sessions_end_when_they_asked_for_it(tmp_path):
    with ServerProcess(tmp_path / "app.db", "--auth", "trust") as s:
        with s.client() as c:
            c.query("CREATE TABLE t(a int)")
        for setting, state, inside in (("idle_in_transaction_session_timeout", "25P03", True), ("idle_session_timeout", "57P05", False)):
            c = s.client()
            c.query(f"SET {setting} = 50")
            if inside:
                c.query("BEGIN; INSERT INTO t VALUES(1)")
            with pytest.raises(ServerError) as e:
                c.expect(b"Z")
            assert e.value.sqlstate == state
        with s.client() as c:
            assert c.query("SELECT count(*) FROM t").rows == [("0",)]
            c.query("SET idle_in_transaction_session_timeout = 20; SELECT pg_sleep(0.1)")
            assert c.query("SELECT 1").rows == [("1",)]


def test_tables_with_keys_among_them_are_dropped_in_one_statement(tmp_path):
    with ServerProcess(tmp_path / "app.db", "--auth", "trust") as s, s.client() as c:
        c.query("""CREATE TABLE a(id int PRIMARY KEY); CREATE TABLE b(id int PRIMARY KEY, a int REFERENCES a); CREATE TABLE c(b int REFERENCES b, a int REFERENCES a);
                   INSERT INTO a VALUES(1); INSERT INTO b VALUES(1, 1); INSERT INTO c VALUES(1, 1)""")
        fails(c, "DROP TABLE a, b", C="2BP01")
        assert c.query("DROP TABLE a, c, b").tag == "DROP TABLE"
        assert c.query("SELECT count(*) FROM pg_class WHERE relname IN ('a', 'b', 'c')").rows == [("0",)]


def test_what_pools_send_when_they_take_a_connection_back(tmp_path):
    with ServerProcess(tmp_path / "app.db", "--auth", "trust") as s, s.client(TimeZone="UTC") as c:
        c.query("SET TimeZone = 'GMT'; LISTEN x")
        r = c.query("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;")
        assert r.tags[0] == "SELECT 1" and len(r.tags) == 4 and r.types == [2278]
        assert c.query("SHOW TimeZone").rows == [("UTC",)]
        assert c.query("DISCARD ALL").tag == "DISCARD ALL"
