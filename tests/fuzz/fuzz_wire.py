"""Hostile sessions against a helios-server built with a sanitizer.

    fuzz_wire.py --seconds 60 --preset asan|tsan [--seed N] [--clients N]

Clients send mutated recordings (corpus/wire) and random sequences of well- and ill-formed messages with SQL of all kinds,
in both session kinds, cancel each other, read nothing, and vanish. A bystander works on beside them. The server must
live, the bystander's table stay right, memory stay bounded, no sanitizer say anything, and SIGTERM end it with 0.
"""
import argparse
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "wire"))
import client as wire  # noqa: E402

CORPUS = [p.read_bytes() for p in sorted((HERE / "corpus" / "wire").iterdir())]
SQL = """select 1|select $1::int|select * from f|select * from f where a = $1|insert into f values($1, $2)|insert into f values(1, 'x') on conflict do nothing
update f set b = b || 'y' where a < 5|delete from f where a = $1 returning *|begin|commit|rollback|savepoint s|rollback to s|release s|set search_path to public|show all|show server_version
select count(*) from f|select a, b from f order by b limit 3|copy f from stdin|copy f to stdout|copy f to stdout (format binary)|copy (select 1) to stdout (format csv, header)
declare c cursor for select * from f|fetch 2 from c|move 1 in c|close c|prepare p(int) as select $1 + 1|execute p(3)|deallocate all|discard all|explain select * from f
create temp table tt(a int)|drop table if exists tt|create table if not exists g(a serial primary key, b numeric, c timestamp, d bool)|insert into g(b, c, d) values(1.5, now(), true) returning *
select * from g|alter table g add column e text|drop table if exists g|select * from pg_class|select * from information_schema.columns|select pg_sleep(0.001)|select nosuch|select 1/0|selec
with recursive n(i) as (select 1 union all select i + 1 from n limit 5000) select i from n|select repeat('x', 100000)|select string_agg(b, ',') from f|select array[1,2,3]|select '{"a":1}'::jsonb -> 'a'
select $1, $2, $3|values (1, 'a'), (2, null)|truncate f|lock table f|vacuum|select current_user, version()|select generate_series(1, 100)|;|-- nothing|select ';'; select 2|listen x|notify x
select cast($1 as date), $2::timestamptz, $3::uuid|select * from f for update|select row_number() over (order by a) from f|set statement_timeout = 50|set heliosdb.dialect = sqlite|set heliosdb.dialect = postgres
use branch nosuch|show branches|select * from f as of now|merge branch a into b|pragma integrity_check|attach ':memory:' as x|select * from heliosdb_stats|listen f|notify f, 'hello'|select repeat('x', 3000000)|with recursive n(i) as (select 1 union all select i + 1 from n limit 100000) select json_group_array(i) from n""".replace("\n", "|").split("|")


def mutated(rng, data):
    data = bytearray(data)
    for _ in range(rng.randrange(5)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at:at + rng.randrange(20)]
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            other = rng.choice(CORPUS)
            start = rng.randrange(len(other))
            data[at:at] = other[start:start + rng.randrange(100)]
        elif kind == 4 and at + 4 <= len(data):
            data[at:at + 4] = struct.pack("!I", rng.choice((0, 3, 4, 5, 65536, 2**30, 2**31 - 1, 2**31, 2**32 - 1)))
        elif kind == 5:
            data[at:at] = data[at:at + rng.randrange(50)]
    return bytes(data)


def value(rng):
    return rng.choice((None, b"", b"1", b"-5", b"abc", b"1.5", b"2024-02-29", b"\0\0\0\5", b"\0\0\0\0\0\0\0\7", b"x" * 2000, b"{1,2}", b"\xff\xfe", b"99999999999999999999"))


def some_messages(rng, c):
    """A few messages, mostly in an order that makes sense."""
    kind = rng.randrange(10)
    names = ("", "a", "b")
    if kind < 4:
        c.send(b"Q", wire.text(rng.choice(SQL)))
    elif kind < 7:
        values = [value(rng) for _ in range(rng.randrange(4))]
        c.parse(rng.choice(SQL), rng.choice(names), [rng.choice((0, 20, 23, 25, 701, 17, 1700, 9999)) for _ in range(rng.randrange(3))])
        c.bind(values, rng.choice(names), rng.choice(names), rng.choice(((), (0,), (1,), [rng.randrange(2) for _ in values])), rng.choice(((), (0,), (1,))))
        if rng.randrange(2):
            c.describe(rng.choice("PS"), rng.choice(names))
        c.run(rng.choice(names), rng.choice((0, 1, 3, 2**31 - 1)))
        if rng.randrange(4):
            c.send(b"S")
    elif kind == 7:
        c.send(rng.choice((b"d", b"c", b"f", b"d")), rng.choice((b"1\tx\n", b"x\0", b"PGCOPY\n\xff\r\n\0", b"\\.\n", b"7\t\\N\n8", b"")))
    elif kind == 8:
        c.send(bytes([rng.choice(b"QPBDECSHdcfFpX!")]), rng.randbytes(rng.randrange(30)))
    else:
        c.send(rng.choice((b"S", b"H", b"C")), rng.choice((b"", b"S\0", b"Pa\0")))


def call(rng, c):
    """A command of a heliosdb_client session (server/remote.c), with arguments that may fit."""
    command = rng.choice(("prepare", "run", "many", "fetch", "release", "info", "config", "serialize", "piece", "checkpoint", "nosuch"))
    body = {"prepare": b"\0" + rng.choice(SQL).encode(), "run": struct.pack("!IBII", rng.randrange(4), 1, rng.choice((0, 1, 64)), 2) + b"\1" + struct.pack("!q", 5) + b"\3\0\0\0\1x",
            "fetch": struct.pack("!II", rng.randrange(4), 10), "many": struct.pack("!III", rng.randrange(4), rng.choice((0, 1, 2, 2**32 - 1)), 1) + b"\1" + struct.pack("!q", 5) + b"\5", "config": struct.pack("!BiI", rng.randrange(5), rng.choice((0, 5, 1003, -1)), rng.choice((0, 1, 2**31))), "serialize": b"main",
            "piece": struct.pack("!QI", rng.choice((0, 100, 2**63)), 1000)}.get(command, b"")
    if not rng.randrange(3):
        body = mutated(rng, body or b"\0")
    c.parse(command)
    c.bind((body, b"".join(struct.pack("!I", rng.choice((1, 2, 0x80000001, 77))) for _ in range(rng.randrange(3)))), formats=(1, 1), result_formats=(1,))
    c.describe()
    c.run()
    c.send(b"S")


def session(rng, port):
    kind = rng.randrange(10)
    if kind == 0:
        with socket.create_connection(("127.0.0.1", port), 10) as s:
            s.settimeout(2)
            s.sendall(mutated(rng, rng.choice(CORPUS)))
            if rng.randrange(2):
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
        return
    remote = rng.randrange(4) == 0
    options = {"options": "-c heliosdb_dialect=sqlite -c heliosdb_client=1"} if remote else {}
    c = wire.Client(port=port, timeout=5, **options)
    try:
        for _ in range(rng.randrange(1, 25)):
            (call if remote else some_messages)(rng, c)
            if rng.randrange(8) == 0:
                c.sock.settimeout(rng.choice((0.01, 0.2)))
                try:
                    c.until_ready()
                except (wire.ServerError, AssertionError, socket.timeout):
                    pass
                c.sock.settimeout(5)
            if rng.randrange(20) == 0:
                c.cancel()
        if rng.randrange(3) == 0:
            c.sock.shutdown(socket.SHUT_WR)
            while c.sock.recv(1 << 16):
                pass
        elif rng.randrange(2):
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        c.sock.close()


def work(seed, port, until, counts, failures):
    number = 0
    while time.monotonic() < until and not failures:
        rng = random.Random(f"{seed}/{number}")
        number += 1
        try:
            session(rng, port)
        except (wire.Gone, wire.ServerError, socket.timeout, ConnectionError, BrokenPipeError, OSError, AssertionError):
            pass
        counts.append(1)


def bystander(port, until, failures):
    try:
        with wire.Client(port=port, timeout=60) as c:
            c.query("create table bystander(a int primary key)")
            done = 0
            while time.monotonic() < until and not failures:
                c.query(f"insert into bystander values({done})")
                done += 1
                rows = c.query("select count(*), max(a) from bystander").rows
                if rows != [(str(done), str(done - 1))]:
                    failures.append(f"the bystander sees {rows} instead of {done}")
                time.sleep(0.01)
    except Exception as error:
        failures.append(f"the bystander: {error!r}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--preset", default="asan")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--memory", type=int, default=2, help="MB a statement may take: small, so that it runs out")
    o = parser.parse_args()
    wire.BINARY = wire.ROOT / "build" / o.preset / "server" / "helios-server"
    directory = tempfile.mkdtemp()
    path = pathlib.Path(directory, "app.db")
    env = {"ASAN_OPTIONS": "abort_on_error=0:halt_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=1",
           "TSAN_OPTIONS": f"suppressions={HERE.parent / 'tsan.supp'}:halt_on_error=0:exitcode=66"}
    print(f"seed {o.seed}, {o.preset}, {o.clients} clients, {o.seconds:g} s")
    server = wire.ServerProcess(path, "--auth", "trust", "--statement-timeout", "2000", "--memory-limit", str(o.memory), env=env).__enter__()
    with server.client() as c:
        c.query("create table f(a int primary key, b text)")
    failures, counts, until = [], [], time.monotonic() + o.seconds
    threads = [threading.Thread(target=work, args=(f"{o.seed}/{i}", server.port, until, counts, failures)) for i in range(o.clients)]
    threads.append(threading.Thread(target=bystander, args=(server.port, until, failures)))
    [t.start() for t in threads]
    most = 0
    while any(t.is_alive() for t in threads):
        if server.process.poll() is not None:
            failures.append("the server ended")
            break
        try:
            most = max(most, server.rss_kb())
        except (IndexError, OSError):  # it is ending
            pass
        time.sleep(0.2)
    [t.join() for t in threads]
    code = None
    try:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(60)
    except Exception as error:
        failures.append(f"no end: {error!r}")
        server.process.kill()
    log = pathlib.Path(f"{path}.log").read_text(errors="replace")
    if code != 0:
        failures.append(f"exit code {code}")
    for sign in ("ERROR: AddressSanitizer", "runtime error:", "WARNING: ThreadSanitizer", "ERROR: LeakSanitizer", "Assertion"):
        if sign in log:
            at = log.index(sign)
            failures.append("\n".join([line for line in log[at:].splitlines() if " info " not in line][:60]))
    print(f"{len(counts)} sessions, at most {most // 1024} MB, {'FAILED' if failures else 'nothing found'}")
    for failure in failures:
        print(failure)
    if failures:
        print(f"left in {directory}")
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    return 0


sys.exit(main())
