#!/usr/bin/env python3
"""A seeded fuzzer of SQL scripts and of the Python interface, against the stock sqlite3 module.

    fuzz_sql.py [--seconds 60] [--seed N] [--kind K] [--count N] [--show]

A seed is a script: a list of steps, made by script_of(seed) alone.  Children run batches of seeds, one with our
module and one with Python's own; each step gives one line of JSON.  A crash, a sanitizer's report, a step that
takes 20 seconds where stock needs less than one, or an error text that speaks of our insides is a finding, printed
with its seed; so is a row or an error that differs in a kind of script marked deterministic.
Replay one with  --seed N --count 1 --show.
"""
import argparse
import faulthandler
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
INSIDES = re.compile(r"internal|assert|not supported yet|rocksdb|Corruption|corrupt record|unexpected|SystemError", re.I)
STEP_SECONDS = 4      # then the step is interrupted
HANG_SECONDS = 25     # then the child is killed


# ---------------------------------------------------------------- running one script (in a child)

def plain(value):
    if isinstance(value, bytes):
        return {"b": value.hex() if len(value) < 400 else [len(value), hash_of(value)]}
    if isinstance(value, float):
        return {"f": "%.12g" % value}
    if isinstance(value, str) and len(value) > 2000:
        return {"s": [len(value), hash_of(value.encode("utf-8", "surrogatepass"))]}
    return value


def hash_of(data):
    import hashlib
    return hashlib.sha1(data).hexdigest()[:12]


class Runner:
    """Runs the steps of one script on one module; holds its connections, cursors and blobs by number."""

    def __init__(self, module, directory):
        self.module, self.directory = module, directory
        self.connections, self.cursors, self.blobs, self.depth = {}, {}, {}, 0
        self.busy_since, self.busy_on, self.slow = None, None, False

    def connection(self, number):
        if number not in self.connections:
            path = os.path.join(self.directory, "f.db") if number else ":memory:"
            con = self.module.connect(path, isolation_level=None, timeout=0.05, check_same_thread=False)
            self.add_callbacks(con)
            self.connections[number] = con
        return self.connections[number]

    def add_callbacks(self, con):
        def raises(*_):
            raise ValueError("told to")

        def calls_back(*args):
            self.depth += 1
            try:
                if self.depth > 3:
                    return self.depth
                return con.execute(str(args[0])).fetchone()[0]
            except self.module.Error as error:
                return str(error)
            except TypeError:
                return "nothing"
            finally:
                self.depth -= 1

        def odd(*args):
            return [None, 1, 1 << 62, 1.5, float("inf"), float("nan"), "t\0x", b"\0\xff", -0.0][hash(str(args)) % 1 + len(args) % 9]

        class Aggregate:
            def __init__(self):
                self.n = 0

            def step(self, *args):
                self.n += 1
                if self.n > 50:
                    raise ValueError("too many")

            def inverse(self, *args):
                self.n -= 1

            def value(self):
                return self.n

            def finalize(self):
                return self.n

        def lies(a, b):
            return (len(a) * 7 + len(b) * 13) % 3 - 1

        con.create_function("raises", -1, raises)
        con.create_function("callsback", 1, calls_back)
        con.create_function("odd", -1, odd)
        con.create_function("same", 1, lambda x: x, deterministic=True)
        con.create_aggregate("agg", 1, Aggregate)
        if hasattr(con, "create_window_function"):
            con.create_window_function("winagg", 1, Aggregate)
        con.create_collation("lies", lies)
        con.create_collation("backwards", lambda a, b: (a < b) - (a > b))

        def fails(a, b):
            raise ValueError("collation")
        con.create_collation("fails", fails)

    def rows(self, cursor, limit=300):
        out = []
        for _ in range(limit):
            row = cursor.fetchone()
            if row is None:
                break
            out.append([plain(v) for v in row])
        return out

    def step(self, step):
        kind = step[0]
        self.slow, self.busy_since = False, time.monotonic()
        try:
            return getattr(self, "do_" + kind)(*step[1:])
        except (self.module.Error, self.module.Warning, ValueError, OverflowError, MemoryError, TypeError, UnicodeError,
                RecursionError) as error:
            return {"e": [type(error).__name__, str(error)[:500]]}
        finally:
            self.busy_since = None

    def on(self, number):
        self.busy_on = self.connection(number)
        return self.busy_on

    def do_sql(self, number, text, *values):
        con = self.on(number)
        cursor = con.execute(text, values) if values else con.execute(text)
        names = [d[0] for d in cursor.description] if cursor.description else None
        rows = self.rows(cursor)
        cursor.close()
        return {"r": rows, "n": names}

    def do_script(self, number, text):
        self.on(number).executescript(text)
        return {}

    def do_many(self, number, text, lists):
        return {"c": self.on(number).executemany(text, lists).rowcount}

    def do_open(self, number, name, text):
        self.cursors[name] = cursor = self.on(number).cursor()
        cursor.execute(text)
        return {}

    def do_fetch(self, name, count):
        cursor = self.cursors.get(name)
        if cursor is None:
            return {}
        return {"r": self.rows(cursor, count)}

    def do_close(self, name):
        cursor = self.cursors.pop(name, None)
        if cursor is not None:
            cursor.close()
        return {}

    def do_bye(self, number):
        con = self.connections.pop(number, None)
        if con is not None:
            con.close()
        return {}

    def do_blob(self, number, name, table, column, row, readonly=False):
        if not hasattr(self.on(number), "blobopen"):
            return {}
        self.blobs[name] = self.on(number).blobopen(table, column, row, readonly=readonly)
        return {"c": len(self.blobs[name])}

    def do_blobread(self, name, offset, count):
        blob = self.blobs.get(name)
        if blob is None:
            return {}
        blob.seek(offset)
        return {"r": plain(blob.read(count))}

    def do_blobwrite(self, name, offset, data):
        blob = self.blobs.get(name)
        if blob is None:
            return {}
        blob.seek(offset)
        blob.write(data.encode())
        return {}

    def do_blobclose(self, name):
        blob = self.blobs.pop(name, None)
        if blob is not None:
            blob.close()
        return {}

    def do_interrupted(self, number, text, delay):
        con = self.on(number)
        timer = threading.Timer(delay, con.interrupt)
        timer.start()
        try:
            con.execute(text).fetchall()
        finally:
            timer.cancel()
            timer.join()
        return {}

    def do_progress(self, number, text, after):
        con, left = self.on(number), [after]

        def stop():
            left[0] -= 1
            return left[0] < 0
        con.set_progress_handler(stop, 1)
        try:
            con.execute(text).fetchall()
        finally:
            con.set_progress_handler(None, 0)
        return {}

    def do_authorizer(self, number, deny):
        self.on(number).set_authorizer(None if deny is None else lambda *a: deny[a[0] % len(deny)])
        return {}

    def do_limit(self, number, which, value):
        con = self.on(number)
        return {"c": con.setlimit(which, value)} if hasattr(con, "setlimit") else {}

    def do_serialize(self, number):
        con = self.on(number)
        if not hasattr(con, "serialize"):
            return {}
        data = con.serialize()
        other = self.module.connect(":memory:")
        other.deserialize(data)
        tables = [r[0] for r in other.execute("select name from sqlite_master order by 1")]
        other.close()
        return {"r": tables}

    def do_backup(self, source, target):
        calls = [0]

        def progress(*_):
            calls[0] += 1
            if calls[0] > 30:
                raise ValueError("backup waits")
        self.on(source).backup(self.connection(target), pages=5, progress=progress, sleep=0.001)
        return {}

    def do_dump(self, number):
        return {"r": [line[:200] for line in self.on(number).iterdump()][:200]}

    def do_threads(self, jobs):
        """Each job, a list of (connection, text), runs in its own thread; nothing is compared."""
        def work(list_of):
            for number, text in list_of:
                try:
                    self.connections[number].execute(text).fetchall()
                except (self.module.Error, self.module.Warning, ValueError, OverflowError) as error:
                    if INSIDES.search(str(error)):
                        inside.append(str(error))
        inside = []
        for list_of in jobs:
            for number, _ in list_of:
                self.connection(number)
        threads = [threading.Thread(target=work, args=(list_of,)) for list_of in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"e": ["Inside", inside[0]]} if inside else {}

    def finish(self):
        for blob in self.blobs.values():
            try:
                blob.close()
            except Exception:
                pass
        for con in list(self.connections.values()):
            con.close()


def child(module_name, seeds, kind):
    import importlib
    from fuzz_scripts import script_of
    module = importlib.import_module(module_name)
    sys.setrecursionlimit(400)
    out = sys.stdout

    current = [None]

    def watch():
        while True:
            time.sleep(0.25)
            runner = current[0]
            since = runner and runner.busy_since
            if since and time.monotonic() - since > STEP_SECONDS:
                runner.slow = True
                try:
                    runner.busy_on.interrupt()
                except Exception:
                    pass
    threading.Thread(target=watch, daemon=True).start()
    for seed in seeds:
        directory = tempfile.mkdtemp(prefix="fuzz")
        os.chdir(directory)     # a script may name any file
        print(json.dumps({"seed": seed}), file=out, flush=True)
        current[0] = runner = Runner(module, directory)
        steps, _ = script_of(seed, kind)
        for number, step in enumerate(steps):
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            begin = time.monotonic()
            print(json.dumps({"at": number}), file=out, flush=True)
            result = runner.step(step)
            if runner.slow:
                result = {"slow": True}
            result["t"] = round(time.monotonic() - begin, 2)
            print(json.dumps(result), file=out, flush=True)
        print(json.dumps({"at": "close"}), file=out, flush=True)
        runner.finish()
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({"done": seed}), file=out, flush=True)
        os.chdir(TOP)
        shutil.rmtree(directory, ignore_errors=True)


# ---------------------------------------------------------------- comparing (in the parent)

def run_child(module_name, seeds, kind, environment, seconds):
    """{seed: (results, how it ended or None)}"""
    command = [sys.executable, os.path.abspath(__file__), "--child", module_name, "--seeds", ",".join(map(str, seeds))]
    if kind:
        command += ["--kind", kind]
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        try:
            process.wait(seconds)
            ended = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            ended = "time"
        errors.seek(0)
        output.seek(0)
        stderr = errors.read().decode("utf-8", "replace")
        lines = output.read().decode("utf-8", "replace").splitlines()
    runs, seed = {}, None
    for line in lines:
        try:
            item = json.loads(line)
        except ValueError:
            continue
        if "seed" in item:
            seed = item["seed"]
            runs[seed] = [[], "unfinished"]
        elif "done" in item:
            runs[seed][1] = None
        elif "at" in item:
            at = item["at"]
        else:
            runs[seed][0].append(item)
    if seed is not None and runs[seed][1] and ended != 0:
        runs[seed][1] = "ended %s at step %s\n%s" % (ended, at, brief(stderr))
    elif ended != 0 and seed is None:
        sys.exit("the child does not start: " + stderr)
    report = stderr if "runtime error" in stderr or "Sanitizer" in stderr else ""
    return runs, report


def shape(ours, theirs, step):
    """What makes two differences the same: the error texts without names, else the step."""
    texts = [re.sub(r"\d+|near .*|: .*|\b[a-z]\w?\d+\b", "", r["e"][1]) if "e" in r else "rows" for r in (ours, theirs)]
    return " | ".join(texts) if texts != ["rows", "rows"] else json.dumps(step)[:100]


def brief(report):
    """The report without the interpreter's own frames."""
    lines = [line for line in report.splitlines() if not re.search(r"/pyrun|Python/|Objects/|Modules/main|Include/|libc-start|libc_start|_start|libffi", line)]
    return "\n".join(lines)[:5000]


def differs(step, ours, theirs):
    if "slow" in theirs:
        return None
    if "slow" in ours:
        return "slow: stock needs %.2f s" % theirs["t"] if theirs["t"] < 1 else None
    a = {k: v for k, v in ours.items() if k != "t"}
    b = {k: v for k, v in theirs.items() if k != "t"}
    return None if a == b else "ours  %s\n   stock %s" % (json.dumps(a)[:700], json.dumps(b)[:700])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--kind")
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--build", default=os.path.join(TOP, "build/asan"))
    parser.add_argument("--child")
    parser.add_argument("--seeds")
    options = parser.parse_args()
    if options.child:
        return child(options.child, [int(s) for s in options.seeds.split(",")], options.kind)
    from fuzz_scripts import script_of
    stock, ours = dict(os.environ), dict(os.environ)
    stock.pop("LD_PRELOAD", None)
    ours["PYTHONPATH"] = os.path.join(options.build, "python")
    if "asan" in os.path.basename(options.build):
        find = lambda name: subprocess.check_output(["gcc", "-print-file-name=" + name], text=True).strip()
        ours.update(LD_PRELOAD=find("libasan.so") + " " + find("libubsan.so"), ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
                    UBSAN_OPTIONS="print_stacktrace=1", PYTHONMALLOC="malloc")
    seed = options.seed if options.seed is not None else int(time.time()) % 1000000 * 1000
    end, done, findings, seen = time.monotonic() + options.seconds, 0, 0, set()
    while options.count and done < options.count or not options.count and time.monotonic() < end:
        count = min(options.batch, options.count - done) if options.count else options.batch
        todo = list(range(seed, seed + count))
        theirs, _ = run_child("sqlite3", todo, options.kind, stock, 600)
        while todo:
            runs, report = run_child("heliosdb_sqlite", todo, options.kind, ours, 600)
            for number, (results, end_text) in sorted(runs.items()):
                steps, compared = script_of(number, options.kind)
                findings += judge(number, steps, compared, results, end_text, theirs.get(number, [[], None])[0], seen, options.show)
            if report and not any(e for _, e in runs.values()):
                findings += 1
                print("=== sanitizer report, seeds %d..%d\n%s" % (todo[0], todo[-1], brief(report)), flush=True)
            todo = [n for n in todo if n > max(runs)] if runs else []
        seed += count
        done += count
    print("fuzz: %d scripts, %d findings, next seed %d" % (done, findings, seed))
    return 1 if findings else 0


def judge(number, steps, compared, results, end_text, theirs, seen, show):
    found = []
    if show:
        for i, step in enumerate(steps):
            print(i, json.dumps(step)[:2000])
            print("   ours ", json.dumps(results[i])[:600] if i < len(results) else "-")
            print("   stock", json.dumps(theirs[i])[:600] if i < len(theirs) else "-")
    if end_text:
        at = re.search(r"at step (\S+)", end_text)
        at = at and at.group(1)
        text = json.dumps(steps[int(at)])[:1500] if at and at.isdigit() else ""
        found.append((re.sub(r"0x[0-9a-f]+|\d+", "", end_text)[-1500:], "%s\n   step: %s" % (end_text, text)))
    for i, result in enumerate(results):
        text = json.dumps(steps[i])[:1500]
        if "e" in result and INSIDES.search(result["e"][1]) and not (i < len(theirs) and theirs[i].get("e") == result["e"]):
            found.append((result["e"][1], "insides: %s\n   step %d: %s" % (result["e"], i, text)))
        elif compared and i < len(theirs):
            difference = differs(steps[i], result, theirs[i])
            if difference:
                found.append((shape(result, theirs[i], steps[i]), "%s\n   step %d: %s" % (difference, i, text)))
                break
    news = 0
    for key, text in found:
        key = key[:120]
        if key in seen and not show:
            continue
        seen.add(key)
        news += 1
        print("=== seed %d\n%s" % (number, text), flush=True)
    return news


if __name__ == "__main__":
    sys.exit(main())
