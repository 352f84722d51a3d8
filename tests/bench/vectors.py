#!/usr/bin/env python3
"""Vectors: HeliosDB Nano through plain SQL beside hnswlib's own Python call, in one run, at equal recall.

  vectors.py [--sizes 10000x384,50000x128] [--metric cosine] [--searches 400] [--npy FILE] [--skip-hnswlib] [--recall]

Needs numpy and hnswlib. The vectors are clustered (or the rows of --npy); queries lie near the clusters and in no
table. Per size one JSON line a figure: loading and building on both sides, queries per second at a recall of 0.95 and
0.99 (each side with the smallest ef that reaches it), filtered recall with the strategy the plan names, another
writer's commits beside the building, what reopening costs, bytes of graph and directory.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

import heliosdb_sqlite as ours

try:
    import hnswlib
except ImportError:
    hnswlib = None

FUNCTIONS = {"cosine": "cosine_distance", "l2": "l2_distance", "ip": "negative_inner_product", "l1": "l1_distance"}
K = 10


def emit(case, figure, **values):
    print(json.dumps({"case": case, "figure": figure, **values}), flush=True)


def clustered(rows, dimensions, seed):
    rnd = np.random.default_rng(seed)
    centres = rnd.normal(size=(100, dimensions))
    make = lambda n: (centres[rnd.integers(0, 100, n)] + 0.6 * rnd.normal(size=(n, dimensions))).astype("float32")
    return make(rows), make(600)


def truth_of(data, queries, metric, allowed=None):
    ids = np.arange(len(data)) if allowed is None else allowed
    data = data[ids]
    if metric == "cosine":
        d = 1 - (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (data / np.linalg.norm(data, axis=1, keepdims=True)).T
    elif metric == "ip":
        d = -(queries @ data.T)
    elif metric == "l2":
        d = (queries ** 2).sum(1)[:, None] - 2 * queries @ data.T + (data ** 2).sum(1)[None]
    else:
        d = np.stack([np.abs(data - q).sum(1) for q in queries])
    return ids[np.argsort(d, axis=1, kind="stable")[:, :K]]


def recall_of(found, truth):
    return sum(len(set(f) & set(t)) for f, t in zip(found, truth.tolist())) / truth.size


class Ours:
    def __init__(self, path, metric):
        self.path, self.metric = path, metric
        self.conn = ours.connect(path, isolation_level=None)
        self.sql = f"SELECT id FROM d {{}} ORDER BY {FUNCTIONS[metric]}(e, ?) LIMIT {K}"

    def load(self, data, ready=True):
        self.conn.execute(f"CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR({data.shape[1]}), g INTEGER)")
        start = time.perf_counter()
        self.conn.execute("BEGIN")
        self.conn.executemany("INSERT INTO d VALUES (?, ?, ?)", ((i, v, i * 7919 % 1000) for i, v in enumerate(data)))
        self.conn.execute("COMMIT")
        loaded = time.perf_counter() - start
        self.find(data[0])
        self.wait()
        return loaded, time.perf_counter() - start

    def wait(self, seconds=900):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            rows = self.conn.execute("SELECT state, pending FROM heliosdb_vector_indexes").fetchall()
            if rows and all(r == ("ready", 0) for r in rows):
                return
            time.sleep(0.01)
        raise SystemExit(f"no index: {rows}")

    def find(self, query, where=""):
        return [r[0] for r in self.conn.execute(self.sql.format(where), (query,)).fetchall()]

    def set_ef(self, ef):
        self.conn.execute(f"PRAGMA heliosdb_ef_search = {ef}")

    def index(self):
        c = self.conn.execute("SELECT * FROM heliosdb_vector_indexes")
        return [dict(zip([d[0] for d in c.description], r)) for r in c.fetchall()]


class Hnswlib:
    def __init__(self, data, metric):
        self.h = hnswlib.Index(space=metric, dim=data.shape[1])
        self.h.init_index(max_elements=len(data), ef_construction=200, M=16)

    def load(self, data, threads):
        start = time.perf_counter()
        self.h.add_items(data, num_threads=threads)
        self.h.set_num_threads(1)
        return time.perf_counter() - start

    def find(self, query, where=""):
        return self.h.knn_query(query, K)[0][0].tolist()

    def set_ef(self, ef):
        self.h.set_ef(ef)


def timed(sides, queries):
    """Of one search on each side, in turns: the median, and the thread's own time on average (what others on the machine do
    counts less there); the best of five rounds."""
    best = [None] * len(sides)
    for _ in range(5):
        for at, side in enumerate(sides):
            times, own = [], time.thread_time()
            for q in queries:
                start = time.perf_counter()
                side.find(q)
                times.append(time.perf_counter() - start)
            got = (sorted(times)[len(times) // 2], (time.thread_time() - own) / len(times))
            best[at] = got if best[at] is None or got[1] < best[at][1] else best[at]
    return best


def at_recall(side, queries, truth, wanted):
    for ef in (10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 100, 128, 160, 200, 256, 320, 400, 640):
        side.set_ef(ef)
        recall = recall_of([side.find(q) for q in queries], truth)
        if recall >= wanted:
            return ef, recall
    return ef, recall


def compare(case, mine, theirs, queries, truth):
    sides = [(n, s) for n, s in (("ours", mine), ("hnswlib", theirs)) if s]
    for wanted in (0.95, 0.99):
        found = [at_recall(side, queries, truth, wanted) for _, side in sides]
        figures = timed([side for _, side in sides], queries)
        for (name, _), (ef, recall), (median, own) in zip(sides, found, figures):
            emit(case, f"queries at {wanted}", side=name, ef=ef, recall=round(recall, 4), median_ms=round(median * 1000, 4), per_second=round(1 / own))
        if len(sides) == 2:
            emit(case, f"ratio at {wanted}", ours_over_hnswlib=round(figures[1][1] / figures[0][1], 3))
    mine.set_ef(0)
    median, own = timed([mine], queries)[0]
    emit(case, "queries, derived ef", ef=mine.index()[0]["ef_search"], recall=round(recall_of([mine.find(q) for q in queries], truth), 4),
         median_ms=round(median * 1000, 4), per_second=round(1 / own))


def filtered(case, mine, data, queries, metric, strategy):
    g = np.arange(len(data)) * 7919 % 1000
    mine.conn.execute(f"PRAGMA heliosdb_vector_strategy = {strategy}")
    for share in (500, 100, 10, 1):
        where, allowed = f"WHERE g < {share}", np.nonzero(g < share)[0]
        truth = truth_of(data, queries[:60], metric, allowed)
        before = mine.index()[0]
        start = time.perf_counter()
        found = [mine.find(q, where) for q in queries[:60]]
        took = (time.perf_counter() - start) / 60
        plan = mine.conn.execute("EXPLAIN QUERY PLAN " + mine.sql.format(where), (queries[0],)).fetchone()[3]
        after = mine.index()[0]
        emit(case, f"filtered {share / 10} %, {strategy}", walks=after["walks"] - before["walks"], scans=after["scans"] - before["scans"], recall=round(recall_of(found, truth), 4), rows=min(map(len, found)), wanted=min(K, len(allowed)),
             mean_ms=round(took * 1000, 3), plan=plan)


def beside_building(case, folder, data, metric):
    """p99 of another writer's commits, alone and while the graph is built."""
    path = os.path.join(folder, "beside.db")
    mine = Ours(path, metric)
    other = ours.connect(path, isolation_level=None, timeout=30)
    other.execute("CREATE TABLE o(id INTEGER PRIMARY KEY, v TEXT)")

    def commits(until):
        times = []
        while not until():
            start = time.perf_counter()
            other.execute("INSERT INTO o(v) VALUES ('x')")
            times.append(time.perf_counter() - start)
            time.sleep(0.001)
        times.sort()
        return len(times), times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000

    mine.conn.execute(f"CREATE TABLE d(id INTEGER PRIMARY KEY, e VECTOR({data.shape[1]}), g INTEGER)")
    mine.conn.execute("BEGIN")
    mine.conn.executemany("INSERT INTO d VALUES (?, ?, 0)", enumerate(data))
    mine.conn.execute("COMMIT")
    end = time.monotonic() + 2
    alone = commits(lambda: time.monotonic() > end)
    mine.find(data[0])
    beside = commits(lambda: mine.index() and mine.index()[0]["state"] == "ready")
    for name, (n, median, p99) in (("alone", alone), ("while building", beside)):
        emit(case, f"another writer, {name}", commits=n, median_ms=round(median, 3), p99_ms=round(p99, 3))
    other.close()
    mine.conn.close()


FIRST = """
import sys, time
import numpy as np
import heliosdb_sqlite
sys.path.insert(0, sys.argv[4])
import vectors
path, folder, metric = sys.argv[1:4]
queries = np.load(folder + "/q.npy")
if len(sys.argv) > 5:
    mine = vectors.Ours(path, metric)
    mine.load(np.load(folder + "/d.npy"))
    mine.conn.close()
else:
    start = time.perf_counter()
    mine = vectors.Ours(path, metric)
    connected = time.perf_counter()
    mine.find(queries[0])
    found = time.perf_counter()
    mine.wait()
    print(connected - start, found - connected, time.perf_counter() - connected, mine.index()[0]["loaded"])
"""


def reopened(case, folder, data, queries, metric):
    """One process loads and closes, the next opens."""
    np.save(os.path.join(folder, "q.npy"), queries)
    np.save(os.path.join(folder, "d.npy"), data)
    command = [sys.executable, "-c", FIRST, os.path.join(folder, "again.db"), folder, metric, os.path.dirname(os.path.abspath(__file__))]
    subprocess.run([*command, "load"], check=True)
    for time_ in ("first", "second"):
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        emit(case, f"reopened by a new process, {time_} time", connect_ms=round(float(out[0]) * 1000, 1), first_query_ms=round(float(out[1]) * 1000, 1),
             graph_ready_ms=round(float(out[2]) * 1000, 1), nodes_from_the_store=int(out[3]))


def sizes_of(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, names in os.walk(path + "-helios") for f in names)


def run(case, data, queries, args, folder):
    metric = args.metric
    path = os.path.join(folder, "v.db")
    truth = truth_of(data, queries, metric)
    theirs = None
    mine = Ours(path, metric)
    loaded, ready = mine.load(data)
    emit(case, "load through SQL", rows_per_second=round(len(data) / loaded), until_ready=round(len(data) / ready), seconds=round(ready, 2))
    if hnswlib and not args.skip_hnswlib and metric != "l1":
        one = Hnswlib(data, metric).load(data, 1)
        theirs = Hnswlib(data, metric)
        both = theirs.load(data, -1)
        emit(case, "load hnswlib", one_thread=round(len(data) / one), all_threads=round(len(data) / both),
             ours_over_one=round(one / ready, 3), ours_over_all=round(both / ready, 3))
    compare(case, mine, theirs, queries, truth)
    for strategy in ("auto", "graph"):
        filtered(case, mine, data, queries, metric, strategy)
    mine.conn.execute("PRAGMA heliosdb_vector_strategy = auto")
    raw = data.nbytes
    i = mine.index()[0]
    emit(case, "memory", bytes=i["bytes"], over_raw=round(i["bytes"] / raw, 3), links_over_raw=round(i["graph_bytes"] / raw, 3))
    mine.conn.execute("PRAGMA wal_checkpoint")
    emit(case, "directory after a checkpoint", over_raw=round(sizes_of(path) / raw, 3))
    mine.conn.close()
    emit(case, "directory after close", over_raw=round(sizes_of(path) / raw, 3))
    reopened(case, folder, data, queries, metric)
    beside_building(case, folder, data, metric)


# ---- --recall: every metric, after changes, after a crash ----
def measured(mine, queries, where=""):
    """Recall against the exact search in SQL, and the fewest rows that came."""
    hits = wanted = 0
    short = K
    exact = mine.sql.format(where).replace("(e, ?) LIMIT", "(e, ?) + 0 LIMIT")
    for q in queries:
        found, truth = mine.find(q, where), [r[0] for r in mine.conn.execute(exact, (q,))]
        hits, wanted, short = hits + len(set(found) & set(truth)), wanted + len(truth), min(short, len(found) - len(truth) + K)
    return round(hits / wanted, 4), short


def change(mine, data):
    """A third of the rows: half of it deleted, half with another row's vector, moved."""
    rnd = np.random.default_rng(5)
    mine.conn.execute("BEGIN")
    for i in np.nonzero(rnd.random(len(data)) < 0.3)[0].tolist():
        if i % 2:
            mine.conn.execute("DELETE FROM d WHERE id = ?", (i,))
        else:
            a, b, c = rnd.integers(0, len(data), 3)
            mine.conn.execute("UPDATE d SET e = ? WHERE id = ?", (data[a] + 0.5 * (data[b] - data[c]), i))
    mine.conn.execute("COMMIT")


CRASH = """
import sys, time
import numpy as np
sys.path.insert(0, sys.argv[4])
import vectors
path, folder, metric = sys.argv[1:4]
data, queries = np.load(folder + "/d.npy"), np.load(folder + "/q.npy")
mine = vectors.Ours(path, metric)
if len(sys.argv) > 5:
    mine.load(data)
    vectors.change(mine, data)
    print("now", flush=True)
    time.sleep(600)
mine.find(queries[0])
mine.wait()
print(*vectors.measured(mine, queries), mine.index()[0]["loaded"])
"""


def recalls(case, data, queries, metrics, folder):
    for metric in metrics:
        mine = Ours(os.path.join(folder, f"{metric}.db"), metric)
        mine.load(data)
        ef = mine.index()[0]["ef_search"]
        emit(case, f"recall {metric}", ef=ef, fresh=measured(mine, queries)[0])
        for share in (500, 100, 10, 1) if metric == metrics[0] else (100,):
            for strategy in ("auto", "graph"):
                mine.conn.execute(f"PRAGMA heliosdb_vector_strategy = {strategy}")
                before = mine.index()[0]
                recall, rows = measured(mine, queries, f"WHERE g < {share}")
                after = mine.index()[0]
                emit(case, f"recall {metric}, {share / 10} %, {strategy}", recall=recall, rows=rows, walks=after["walks"] - before["walks"], scans=after["scans"] - before["scans"])
        mine.conn.execute("PRAGMA heliosdb_vector_strategy = auto")
        change(mine, data)
        at_once = measured(mine, queries)[0]
        mine.find(queries[0])
        mine.wait()
        emit(case, f"recall {metric}, 30 % changed", at_once=at_once, taken_in=measured(mine, queries)[0], ef=mine.index()[0]["ef_search"])
        mine.conn.close()
    np.save(os.path.join(folder, "q.npy"), queries)
    np.save(os.path.join(folder, "d.npy"), data)
    command = [sys.executable, "-c", CRASH, os.path.join(folder, "crash.db"), folder, metrics[0], os.path.dirname(os.path.abspath(__file__))]
    p = subprocess.Popen([*command, "load"], stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    p.kill()
    p.wait()
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    emit(case, f"recall {metrics[0]}, 30 % changed, killed, reopened", recall=float(out[0]), rows=int(out[1]), nodes_from_the_store=int(out[2]))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--sizes", default="10000x384,50000x128")
    p.add_argument("--metric", default="cosine", choices=list(FUNCTIONS))
    p.add_argument("--searches", type=int, default=400)
    p.add_argument("--npy", help="real vectors (sentences.py makes some): the last 10 %% are queries")
    p.add_argument("--skip-hnswlib", action="store_true")
    p.add_argument("--dir")
    p.add_argument("--recall", action="store_true", help="recall by metric, filtered, after changes and a crash, instead of speed")
    args = p.parse_args()
    sets = []
    if args.npy:
        all_ = np.load(args.npy).astype("float32")
        n = len(all_) - len(all_) // 10
        sets.append((os.path.basename(args.npy), all_[:n], all_[n:]))
    else:
        for size in args.sizes.split(","):
            rows, dimensions = map(int, size.split("x"))
            sets.append((size, *clustered(rows, dimensions, 1)))
    for case, data, queries in sets:
        folder = tempfile.mkdtemp(dir=args.dir)
        try:
            if args.recall:
                recalls(case, data, queries[:args.searches], list(FUNCTIONS), folder)
                continue
            run(f"{case} {args.metric}", data, queries[:args.searches], args, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
