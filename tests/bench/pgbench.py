"""helios-server beside PostgreSQL under pgbench: one run, alternating, both durable (fsync at every commit).

usage: pgbench.py [--seconds 2] [--rounds 3] [--scales 1,10] [--clients 1,8] [--modes simple,extended,prepared]
                  [--work select,tpcb] [--server build/release/server/helios-server] [--only helios|postgres] [--unix]

Prints for each cell the best transactions a second of each side with its spread (lowest of the rounds), the CPU time
that each side's processes took for a transaction (what noise on the machine leaves alone), and the ratios. PostgreSQL is
as initdb leaves it; run by root it runs as the user postgres. Ends with 1 when helios-server is behind in a cell by more
than --allow percent (default: 0; 100 never).
"""
import argparse
import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process, log):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    sys.exit("a server did not start: %s" % open(log).read()[-500:])


def stat_times(pid, children):
    try:
        fields = open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()
    except OSError:
        return 0, 0
    return sum(int(x) for x in fields[11:15 if children else 13]) / TICK, int(fields[1])


class Side:
    def run(self, scale, arguments, seconds):
        """Transactions a second and CPU seconds a transaction of the server."""
        before = self.cpu()
        out = self.pgbench(["-T", str(seconds)] + arguments, scale)
        time.sleep(0.3)  # until the backends have ended and are reaped
        spent = self.cpu() - before
        done = int(re.search(r"actually processed: (\d+)", out).group(1))
        failed = int(re.search(r"failed transactions: (\d+)", out).group(1))
        if failed:
            sys.exit("%s: %d transactions failed\n%s" % (self.name, failed, out))
        return float(re.search(r"tps = ([\d.]+)", out).group(1)), spent / max(done, 1) * 1e6

    def pgbench(self, arguments, scale):
        command = [self.binary("pgbench"), "-h", self.host, "-p", str(self.port), "-U", self.user] + arguments + [self.database(scale)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit("%s: %s\n%s" % (self.name, " ".join(command), done.stdout[-2000:]))
        return done.stdout

    def binary(self, name):
        return os.path.join(self.bin, name)


class Postgres(Side):
    name, user = "postgres", "postgres"

    def __init__(self, folder, bin, unix):
        self.bin, self.port = bin, free_port()
        self.data = os.path.join(folder, "postgres")
        os.mkdir(self.data)
        as_user = {}
        if os.getuid() == 0:
            shutil.chown(self.data, "postgres")
            as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        os.chmod(folder, 0o755)
        subprocess.run([self.binary("initdb"), "-D", self.data + "/data", "-A", "trust", "-U", self.user], check=True, stdout=subprocess.DEVNULL, cwd=self.data, **as_user)
        self.log = os.path.join(folder, "postgres.log")
        self.process = subprocess.Popen([self.binary("postgres"), "-D", self.data + "/data", "-p", str(self.port), "-k", self.data],
                                        stdout=open(self.log, "w"), stderr=subprocess.STDOUT, cwd=self.data, **as_user)
        self.host = self.data if unix else "127.0.0.1"
        wait_for(self.port, self.process, self.log)

    def database(self, scale):
        return "scale%d" % scale

    def load(self, scale):
        subprocess.run([self.binary("createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, self.database(scale)], check=True)
        self.pgbench(["-i", "-q", "-s", str(scale)], scale)

    def cpu(self):
        """The postmaster, what it has reaped, and its living children."""
        total = stat_times(self.process.pid, True)[0]
        for path in glob.glob("/proc/[0-9]*/stat"):
            pid = int(path.split("/")[2])
            spent, parent = stat_times(pid, False)
            if parent == self.process.pid:
                total += spent
        return total

    def stop(self):
        self.process.send_signal(2)
        self.process.wait()


class Helios(Side):
    name, user = "helios", "helios"

    def __init__(self, folder, bin, unix, server):
        self.folder, self.bin, self.server, self.unix = folder, bin, server, unix
        self.servers = {}

    def database(self, scale):
        process, port = self.servers[scale]
        self.port = port
        return "scale%d" % scale

    def load(self, scale):
        port, log = free_port(), os.path.join(self.folder, "helios%d.log" % scale)
        process = subprocess.Popen([self.server, "--port", str(port), "--auth", "trust", "--socket-dir", self.folder, os.path.join(self.folder, "scale%d.db" % scale)],
                                   stdout=open(log, "w"), stderr=subprocess.STDOUT)
        self.host = self.folder if self.unix else "127.0.0.1"
        self.servers[scale] = process, port
        wait_for(port, process, log)
        self.port = port
        self.pgbench(["-i", "-q", "-s", str(scale)], scale)

    def pgbench(self, arguments, scale):
        self.database(scale)
        return Side.pgbench(self, arguments, scale)

    def cpu(self):
        return sum(stat_times(process.pid, False)[0] for process, port in self.servers.values())

    def stop(self):
        for process, port in self.servers.values():
            process.terminate()
        for process, port in self.servers.values():
            process.wait()


def postgres_bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pgbench"), key=lambda p: (p.split("/")[4] != "15", p))
    return os.path.dirname(found[0]) if found else sys.exit("PostgreSQL is missing: apt-get install postgresql-15")


def show(label, sides, results):
    line = "%-34s" % label
    for side in sides:
        tps = [r[0] for r in results[side.name]]
        line += " %s %9.0f (%6.0f) %6.1f us" % (side.name, max(tps), min(tps), min(r[1] for r in results[side.name]))
    if len(sides) == 2:
        best = [max(r[0] for r in results[side.name]) for side in sides]
        cpu = [min(r[1] for r in results[side.name]) for side in sides]
        line += "  tps x%.2f  cpu x%.2f" % (best[0] / best[1], cpu[0] / cpu[1] if cpu[1] else 0)
    print(line, flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--scales", default="1,10")
    p.add_argument("--clients", default="1,8")
    p.add_argument("--modes", default="simple,extended,prepared")
    p.add_argument("--work", default="select,tpcb")
    p.add_argument("--server", default=os.path.join(HERE, "../../build/release/server/helios-server"))
    p.add_argument("--only")
    p.add_argument("--unix", action="store_true")
    p.add_argument("--allow", type=float, default=0)
    o = p.parse_args()
    folder = tempfile.mkdtemp(prefix="bench-pgbench-")
    bin = postgres_bin()
    sides = []
    behind = []
    try:
        if o.only != "postgres":
            sides.append(Helios(folder, bin, o.unix, o.server))
        if o.only != "helios":
            sides.append(Postgres(folder, bin, o.unix))
        print("best of %d rounds of %d s (lowest in brackets), CPU of the server a transaction, load %.1f" % ((o.rounds, o.seconds) + os.getloadavg()[:1]))
        for scale in map(int, o.scales.split(",")):
            for side in sides:
                side.load(scale)
            for work in o.work.split(","):
                for mode in o.modes.split(","):
                    for clients in o.clients.split(","):
                        arguments = ["-M", mode, "-c", clients, "-j", "1"] + (["-S", "-n"] if work == "select" else [])
                        results = {side.name: [] for side in sides}
                        for r in range(o.rounds):
                            for side in sides if r % 2 == 0 else sides[::-1]:
                                results[side.name].append(side.run(scale, arguments, o.seconds))
                        label = "scale %d %s %s, %s client%s" % (scale, work, mode, clients, "" if clients == "1" else "s")
                        show(label, sides, results)
                        best = [max(r[0] for r in results[side.name]) for side in sides]
                        if len(best) == 2 and best[0] < best[1] * (1 - o.allow / 100):
                            behind.append(label)
    finally:
        for side in sides:
            side.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if behind:
        sys.exit("behind: " + "; ".join(behind))


if __name__ == "__main__":
    main()
