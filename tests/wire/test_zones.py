"""Time zones: a timestamptz is kept in UTC and shown, read, cut and cast in the session's zone. Expected values are PostgreSQL 15's."""
import pathlib

import pytest

from client import ServerError, ServerProcess

pytestmark = pytest.mark.skipif(not pathlib.Path("/usr/share/zoneinfo/Europe/Warsaw").exists(), reason="the system has no tzdata")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("zones") / "app.db", "--auth", "trust") as s, s.client(TimeZone="Europe/Warsaw") as c:
        c.query("""CREATE TABLE z(id int PRIMARY KEY, tz timestamptz, ts timestamp, d date);
            INSERT INTO z VALUES(1, '2024-07-01 12:00', '2024-07-01 12:00', '2024-07-01'), (2, '2024-01-01 00:30+00', timestamptz '2024-01-01 00:30+00', timestamptz '2024-06-30 23:00+00'),
                                (3, timestamp '2024-03-31 02:30', NULL, NULL)""")
        c.query("INSERT INTO z(id, tz) SELECT 4, ts FROM z WHERE id = 1; INSERT INTO z(id, tz) SELECT 5, '2024-10-27 02:30'")
        yield s


@pytest.fixture
def c(server):
    with server.client(TimeZone="Europe/Warsaw") as client:
        yield client


def one(client, expressions):
    return client.query(f"SELECT {expressions} FROM z WHERE id = 1").rows[0]


def test_a_session_speaks_in_its_zone(server, c):
    assert c.parameters["TimeZone"] == "Europe/Warsaw"
    assert c.query("SELECT tz FROM z ORDER BY id").rows == [("2024-07-01 12:00:00+02",), ("2024-01-01 01:30:00+01",), ("2024-03-31 03:30:00+02",),
                                                            ("2024-07-01 12:00:00+02",), ("2024-10-27 02:30:00+01",)]
    assert c.query("SELECT ts, d FROM z WHERE id = 2").rows == [("2024-01-01 01:30:00", "2024-07-01")]
    for name, shown, at in (("europe/london", "Europe/London", "11:00:00+01"), ("-5", "<-05>+05", "05:00:00-05"), ("5.5", "<+05:30>-05:30", "15:30:00+05:30"), ("+02:00", "+02:00", "08:00:00-02"),
                            ("UTC-2", "UTC-2", "12:00:00+02"), ("UTC", "UTC", "10:00:00+00"), ("EST5EDT,M3.2.0,M11.1.0", "EST5EDT,M3.2.0,M11.1.0", "06:00:00-04")):
        c.query(f"SET TIME ZONE '{name}'" if "." not in name or "," in name else f"SET TIME ZONE {name}")
        assert c.parameters["TimeZone"] == shown and c.query("SHOW TimeZone").rows == [(shown,)]
        assert one(c, "tz, tz::time, ts") == (f"2024-07-01 {at}", at[:8], "2024-07-01 12:00:00")
    for bad in ("Nowhere/City", "../../etc/passwd", "cest", "Europe", ""):
        with pytest.raises(ServerError) as e:
            c.query(f"SET TimeZone = '{bad}'")
        assert e.value.sqlstate == "22023"
    with pytest.raises(ServerError):
        server.client(TimeZone="No/Where")
    c.query("RESET TimeZone")
    c.query("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'")
    assert one(c, "tz") == ("2024-07-01 19:00:00+09",)
    c.query("ROLLBACK")
    assert one(c, "tz") == ("2024-07-01 12:00:00+02",) and c.parameters["TimeZone"] == "Europe/Warsaw"


def test_the_past_and_the_future_of_a_zone(c):
    assert c.query("SELECT '2100-07-01 12:00+00'::timestamptz, '1900-01-01 00:00+00'::timestamptz, '1985-04-01 00:00+00'::timestamptz").rows == [
        ("2100-07-01 14:00:00+02", "1900-01-01 01:24:00+01:24", "1985-04-01 02:00:00+02")]
    c.query("SET TimeZone = 'America/New_York'")
    assert c.query("SELECT '2024-03-10 02:30'::timestamptz, '2024-11-03 01:30'::timestamptz, '2050-11-06 01:30'::timestamptz").rows == [
        ("2024-03-10 03:30:00-04", "2024-11-03 01:30:00-05", "2050-11-06 01:30:00-05")]


def test_literals_and_parameters_without_a_zone_are_local(c):
    ids = lambda where, *values: [r[0] for r in c.execute(f"SELECT id FROM z WHERE {where} ORDER BY id", values).rows]  # noqa: E731
    assert ids("tz = '2024-07-01 12:00'") == ids("tz = $1", "2024-07-01 12:00") == ["1", "4"]
    assert ids("tz = ts") == ["1", "2"]
    assert ids("tz BETWEEN '2024-07-01' AND '2024-07-02'") == ids("tz::date = '2024-07-01'") == ids("tz >= date '2024-07-01' AND id < 5") == ["1", "4"]
    assert ids("tz = timestamptz '2024-07-01 06:00 America/New_York'") == ids("tz IN ('2024-07-01 10:00Z')") == ["1", "4"]
    c.query("SET TimeZone = 'UTC'")
    assert ids("tz = '2024-07-01 12:00'") == []


def test_casts_and_functions_look_at_the_zones_clock(c):
    assert one(c, "tz::text, tz || 'x', concat(tz, '|'), tz::timestamp, tz::date, ts::timestamptz, d::timestamptz, ts::text") == (
        "2024-07-01 12:00:00+02", "2024-07-01 12:00:00+02x", "2024-07-01 12:00:00+02|", "2024-07-01 12:00:00", "2024-07-01", "2024-07-01 12:00:00+02", "2024-07-01 00:00:00+02", "2024-07-01 12:00:00")
    assert one(c, "date_trunc('day', tz), date_trunc('month', ts), extract(hour FROM tz), extract(epoch FROM tz)::bigint, extract(timezone FROM tz), date_trunc('day', tz, 'America/New_York')") == (
        "2024-07-01 00:00:00+02", "2024-07-01 00:00:00", "12", "1719828000", "7200", "2024-07-01 06:00:00+02")
    assert one(c, "tz AT TIME ZONE 'UTC', ts AT TIME ZONE 'America/New_York', d AT TIME ZONE 'UTC', (tz AT TIME ZONE 'UTC') AT TIME ZONE 'Asia/Tokyo', tz AT TIME ZONE INTERVAL '-5 hours'") == (
        "2024-07-01 10:00:00", "2024-07-01 18:00:00+02", "2024-06-30 22:00:00", "2024-07-01 03:00:00+02", "2024-07-01 05:00:00")
    assert c.query("SELECT timestamptz '2024-03-30 12:00' + interval '1 day', timestamptz '2024-03-30 12:00' + interval '24 hours', timestamptz '2024-07-31 12:00' - interval '1 month'").rows == [
        ("2024-03-31 12:00:00+02", "2024-03-31 13:00:00+02", "2024-06-30 12:00:00+02")]
    assert one(c, "to_char(tz, 'HH24 TZ tz OF'), coalesce(NULL, tz), CASE WHEN true THEN tz END, ARRAY[tz, NULL], tz - ts, age(tz, timestamptz '2024-01-01')") == (
        "12 CEST cest +02", "2024-07-01 12:00:00+02", "2024-07-01 12:00:00+02", '{"2024-07-01 12:00:00+02",NULL}', "00:00:00", "6 mons 12:00:00")
    assert c.query("SELECT localtimestamp = now()::timestamp, current_date = now()::date, now()::timestamp = now() AT TIME ZONE 'Europe/Warsaw'").rows == [("t", "t", "t")]
    with pytest.raises(ServerError) as e:
        c.query("SELECT now() AT TIME ZONE 'Foo/Bar'")
    assert (e.value.sqlstate, e.value.fields["M"]) == ("22023", 'time zone "Foo/Bar" not recognized')


def test_views_defaults_and_copy_are_in_the_readers_zone(c):
    c.query("CREATE VIEW zv AS SELECT id, tz::date AS d FROM z; CREATE TABLE made(id int PRIMARY KEY, at timestamp DEFAULT now(), tz timestamptz DEFAULT '2024-07-01 12:00')")
    c.query("INSERT INTO made(id) VALUES(1)")
    assert c.query("SELECT at - now() AT TIME ZONE 'Europe/Warsaw' < interval '1 minute', at - now() AT TIME ZONE 'Europe/Warsaw' > interval '-1 minute', tz FROM made").rows == [("t", "t", "2024-07-01 12:00:00+02")]
    assert c.query("SELECT d FROM zv WHERE id = 2").rows == [("2024-01-01",)]
    c.query("SET TimeZone = 'America/New_York'")
    assert c.query("SELECT d FROM zv WHERE id = 2").rows == [("2023-12-31",)]
    c.send(b"Q", b"COPY (SELECT tz FROM z WHERE id = 1) TO STDOUT\0")
    c.expect(b"H")
    assert c.expect(b"d")[1] == b"2024-07-01 06:00:00-04\n"
    c.until_ready()
    c.send(b"Q", b"COPY z(id, tz) FROM STDIN\0")
    c.expect(b"G")
    c.send(b"d", b"9\t2024-07-01 06:00\n")
    c.send(b"c")
    c.until_ready()
    assert c.query("SELECT tz = (SELECT tz FROM z WHERE id = 1) FROM z WHERE id = 9").rows == [("t",)]
    c.query("DELETE FROM z WHERE id = 9")


def test_binary_values_are_moments_whatever_the_zone(c):
    c.parse("SELECT tz FROM z WHERE id = 1")
    c.bind(result_formats=(1,))
    c.run()
    c.send(b"S")
    c.expect(b"1"), c.expect(b"2")
    assert int.from_bytes(c.expect(b"D")[1][6:], "big") == 773143200000000
    c.until_ready()


def test_the_zones_are_listed(c):
    assert c.query("SELECT name, abbrev, utc_offset, is_dst FROM pg_timezone_names WHERE name IN ('Asia/Tokyo', 'UTC') ORDER BY 1").rows == [("Asia/Tokyo", "JST", "09:00:00", "f"), ("UTC", "UTC", "00:00:00", "f")]
