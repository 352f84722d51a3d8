"""Several processes write one database while its owner is killed again and again.

usage: processes.py [kills] [processes]

Each worker counts in a row of its own, in one that all share, and logs each step in a table with a UNIQUE index, in one
transaction; it tells the step after its commit returned. The process that owns the storage is killed with SIGKILL; the
others must commit again within two seconds. At the end: every step told is there, none twice, nothing else; and
integrity_check is clean. Prints how long the longest pause was.
"""
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time

KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 50
PROCESSES = int(sys.argv[2]) if len(sys.argv) > 2 else 4
PAUSE_MAX = 2.0

WORKER = """
import os, sys
import heliosdb_sqlite as helios
def told(kind, error, trace):
    print("failed", repr(error), flush=True)
sys.excepthook = told
path, number, forked = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "fork"
conn = helios.connect(path, timeout=20, isolation_level=None)
if forked:  # the connection is the parent's; this one goes on with it, and the parent stays away
    conn.execute("SELECT 1 FROM shared").fetchall()
    if os.fork():
        os._exit(0)
    print("pid", os.getpid(), flush=True)
conn.execute("INSERT INTO own VALUES(?, 0)", (number,))
step = 0
while True:
    step += 1
    for attempt in range(100):
        try:
            conn.execute("BEGIN IMMEDIATE" if step % 7 == 0 else "BEGIN")
            conn.execute("INSERT INTO log(worker, step, text) VALUES(?, ?, ?)", (number, step, "x" * (step % 50)))
            conn.execute("UPDATE own SET n = n + 1 WHERE worker = ?", (number,))
            conn.execute("UPDATE shared SET n = n + 1")
            if step % 5 == 0:
                mine = conn.execute("SELECT count(*) FROM log WHERE worker = ?", (number,)).fetchone()[0]
                assert mine == step, ("own steps seen", mine, step)
            conn.execute("COMMIT")
            break
        except helios.OperationalError as e:
            if "locked" not in str(e):
                raise
            conn.rollback()
    else:
        raise SystemExit("no luck in a hundred tries")
    print(step, flush=True)
"""


class Worker:
    numbers = 0
    failures = []

    def __init__(self, path):
        Worker.numbers += 1
        self.number, self.told, self.last = Worker.numbers, 0, time.monotonic()
        self.forked = self.number % 2 == 0
        self.process = subprocess.Popen([sys.executable, "-c", WORKER, path, str(self.number), "fork" if self.forked else "spawn"],
                                        stdout=subprocess.PIPE)
        self.pid = self.process.pid
        self.rest = b""
        self.dead = False

    def read(self, now):
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            self.dead = True
            return False
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            if line.startswith(b"pid "):
                self.pid = int(line[4:])
            elif line.startswith(b"failed "):
                Worker.failures.append(f"worker {self.number} after step {self.told}: {line.decode()}")
            else:
                self.told = int(line)
                self.last = now
        return True


def owner_of(path):
    try:
        with open(path + "-helios/OWNER") as f:
            return int(f.readline().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def main():
    killed_pid = 0
    import heliosdb_sqlite as helios
    folder = tempfile.TemporaryDirectory(prefix="helios-sim-processes-")
    path = os.path.join(folder.name, "app.db")
    conn = helios.connect(path)
    conn.executescript("CREATE TABLE log(id INTEGER PRIMARY KEY, worker, step, text, UNIQUE(worker, step));"
                       "CREATE TABLE own(worker PRIMARY KEY, n); CREATE TABLE shared(n); INSERT INTO shared VALUES(0)")
    conn.close()
    del conn
    random.seed(7)
    live, gone, kills, longest = [Worker(path) for _ in range(PROCESSES)], [], 0, 0.0
    next_kill = time.monotonic() + 4
    killed_at = None
    failed = []
    while kills < KILLS or (killed_at and time.monotonic() < killed_at + 2):
        ready, _, _ = select.select([w.process.stdout for w in live], [], [], 0.05)
        now = time.monotonic()
        for w in list(live):
            if w.process.stdout in ready and not w.read(now):
                live.remove(w)
                gone.append(w)
                if w.pid != killed_pid:
                    failed.append(f"worker {w.number} ended by itself after step {w.told}")
            elif w.told and now - w.last > longest:
                longest = now - w.last
                if longest > PAUSE_MAX:
                    failed.append(f"worker {w.number} stands still after step {w.told} for {longest:.2f} s")
        if failed:
            break
        if kills < KILLS and now >= next_kill and all(w.told for w in live) and len(live) >= PROCESSES - 1:
            killed_pid = owner_of(path)
            if any(w.pid == killed_pid for w in live):
                os.kill(killed_pid, signal.SIGKILL)
                kills += 1
                killed_at = now
                live.append(Worker(path))
            next_kill = now + random.uniform(0.1, 0.5)
    for w in live:
        os.kill(w.pid, signal.SIGKILL)
        while not w.dead:
            w.read(time.monotonic())
    for w in live + gone:
        w.process.wait()
    conn = helios.connect(path, timeout=20)
    failed += Worker.failures
    total = conn.execute("SELECT n FROM shared").fetchone()[0]
    steps = 0
    for w in live + gone:
        row = conn.execute("SELECT n FROM own WHERE worker = ?", (w.number,)).fetchone()
        n = row[0] if row else 0
        steps += n
        if n not in (w.told, w.told + 1):
            failed.append(f"worker {w.number} told {w.told} steps, {n} are counted")
        logged = [r[0] for r in conn.execute("SELECT step FROM log WHERE worker = ? ORDER BY step", (w.number,))]
        if logged != list(range(1, n + 1)):
            failed.append(f"worker {w.number} has {n} steps, the log {len(logged)}")
    if total != steps:
        failed.append(f"{steps} steps, the shared counter says {total}")
    check = conn.execute("PRAGMA integrity_check").fetchall()
    if check != [("ok",)]:
        failed.append(f"integrity_check: {check[:3]}")
    conn.close()
    print(f"{kills} owners killed, {steps} commits by {len(live + gone)} processes, longest pause {longest:.2f} s")
    for line in failed[:10]:
        print("FAILED:", line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
