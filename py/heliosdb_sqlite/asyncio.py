"""asyncio: the same connection and cursor, awaited.

    async with await connect("app.db") as conn:
        cur = await conn.execute("select * from t where a = ?", (1,))
        async for row in cur:
            ...

    pool = AsyncConnectionPool("app.db", max_size=10)
    async with pool.connection() as conn:      # commits, rolls back on an error
        await conn.execute("insert into t values(?)", (1,))

`async with conn.execute(...) as cur`, `await conn.cursor()`, `execute_fetchall` and the like work too, as in aiosqlite.

A connection has one thread, made when it is first used, so its calls take their turns in order and callbacks always
run on the same thread. Cancelling a task interrupts the query that it waits for, and returns when that has ended. A pool
opens connections when they are asked for, up to max_size. No object here is bound to an event loop before its first use.
"""
import asyncio as _asyncio
import concurrent.futures
import contextlib
import functools
import itertools

import heliosdb_sqlite as _sync

__all__ = ["connect", "AsyncConnection", "AsyncCursor", "AsyncConnectionPool"]

_ROWS_AT_ONCE = 64
_INTERRUPT_AGAIN = 0.02  # seconds: an interrupt between two calls into the engine meets nothing


class _Result:
    """A cursor to come: awaited, or entered by `async with`, which closes it."""

    def __init__(self, coroutine):
        self._coroutine = coroutine
        self._cursor = None

    def __await__(self):
        return self._coroutine.__await__()

    async def __aenter__(self):
        self._cursor = await self._coroutine
        return self._cursor

    async def __aexit__(self, *_):
        await self._cursor.close()


class AsyncCursor:
    """A cursor whose work is done on its connection's thread."""

    def __init__(self, connection, cursor):
        self._connection = connection
        self._cursor = cursor

    @property
    def connection(self):
        return self._connection

    def __await__(self):
        """`await conn.cursor()` is the cursor."""
        return self
        yield

    description = property(lambda self: self._cursor.description)
    rowcount = property(lambda self: self._cursor.rowcount)
    lastrowid = property(lambda self: self._cursor.lastrowid)

    @property
    def arraysize(self):
        return self._cursor.arraysize

    @arraysize.setter
    def arraysize(self, value):
        self._cursor.arraysize = value

    @property
    def row_factory(self):
        return self._cursor.row_factory

    @row_factory.setter
    def row_factory(self, value):
        self._cursor.row_factory = value

    async def execute(self, sql, parameters=()):
        await self._connection._run(self._cursor.execute, sql, parameters)
        return self

    async def executemany(self, sql, parameters):
        await self._connection._run(self._cursor.executemany, sql, parameters)
        return self

    async def executescript(self, script):
        await self._connection._run(self._cursor.executescript, script)
        return self

    async def fetchone(self):
        return await self._connection._run(self._cursor.fetchone)

    async def fetchmany(self, size=None):
        return await self._connection._run(self._cursor.fetchmany, self._cursor.arraysize if size is None else size)

    async def fetchall(self):
        return await self._connection._run(self._cursor.fetchall)

    async def close(self):
        await self._connection._run(self._cursor.close)

    async def __aiter__(self):
        while True:
            rows = await self.fetchmany(_ROWS_AT_ONCE)
            for row in rows:
                yield row
            if len(rows) < _ROWS_AT_ONCE:
                return

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()


class _Done:
    def __await__(self):
        return
        yield


class AsyncConnection:
    """A connection on a thread of its own. Anything not here is in .sync, for use through run()."""

    def __init__(self, database, **keywords):
        keywords["check_same_thread"] = False  # the thread is ours, but closing may come from another
        self._open = functools.partial(_sync.connect, database, **keywords)
        self._thread = None
        self._connection = None

    async def _run(self, function, *arguments, **keywords):
        if self._thread is None:
            raise _sync.ProgrammingError("Cannot operate on a closed database.")
        work = self._thread.submit(functools.partial(function, *arguments, **keywords))
        try:
            return await _asyncio.wrap_future(work)
        except _asyncio.CancelledError:
            await self._end(work)
            raise

    async def _end(self, work):
        """Whatever a cancelled task had running ends before the task does."""
        if work.cancel():
            return
        again = False
        while not work.done():
            if work.running() and self._connection is not None:
                try:
                    self._connection.interrupt()
                except _sync.ProgrammingError:  # it is being closed
                    pass
            try:
                await _asyncio.sleep(_INTERRUPT_AGAIN if again else 0)
            except _asyncio.CancelledError:
                pass
            again = True

    def _open_here(self):
        self._connection = self._open()

    async def open(self):
        """Open it, once; connect() and the pool do."""
        if self._connection is None:
            self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="heliosdb")
            try:
                await self._run(self._open_here)
            except BaseException:
                opened, self._connection = self._connection, None
                if opened is not None:  # cancelled a moment too late
                    self._thread.submit(opened.close)
                self._stop()
                raise
        return self

    def _stop(self):
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)

    @property
    def sync(self):
        """The connection itself."""
        return self._connection

    async def run(self, method, *arguments, **keywords):
        """Call a method of the connection by name on its thread: await conn.run("create_function", "f", 1, f)."""
        return await self._run(getattr(self._connection, method), *arguments, **keywords)

    in_transaction = property(lambda self: self._connection.in_transaction)
    total_changes = property(lambda self: self._connection.total_changes)
    last_commit_timestamp = property(lambda self: self._connection.last_commit_timestamp)

    def _attribute(name):
        return property(lambda self: getattr(self._connection, name), lambda self, value: setattr(self._connection, name, value))

    row_factory, text_factory, isolation_level = map(_attribute, ("row_factory", "text_factory", "isolation_level"))
    del _attribute

    def cursor(self):
        if self._connection is None:
            raise _sync.ProgrammingError("Cannot operate on a closed database.")
        return AsyncCursor(self, self._connection.cursor())

    def execute(self, sql, parameters=()):
        return _Result(self.cursor().execute(sql, parameters))

    def executemany(self, sql, parameters):
        return _Result(self.cursor().executemany(sql, parameters))

    def executescript(self, script):
        return _Result(self.cursor().executescript(script))

    async def execute_fetchall(self, sql, parameters=()):
        """All rows of a query."""
        return await self._run(lambda: self._connection.execute(sql, parameters).fetchall())

    async def execute_insert(self, sql, parameters=()):
        """Insert, and the row id given, as a row."""
        def insert():
            self._connection.execute(sql, parameters)
            return self._connection.execute("SELECT last_insert_rowid()").fetchone()
        return await self._run(insert)

    async def backup(self, target, **keywords):
        """Connection.backup; the target is one of these or an ordinary connection."""
        other = target.sync if isinstance(target, AsyncConnection) else target
        await self._run(lambda: self._connection.backup(other, **keywords))

    async def iterdump(self):
        lines = await self._run(lambda: iter(self._connection.iterdump()))
        while True:
            some = await self._run(lambda: list(itertools.islice(lines, _ROWS_AT_ONCE)))
            for line in some:
                yield line
            if len(some) < _ROWS_AT_ONCE:
                return

    async def create_function(self, name, narg, func, deterministic=False):
        await self._run(lambda: self._connection.create_function(name, narg, func, deterministic=deterministic))

    async def commit(self):
        await self._run(self._connection.commit)

    async def rollback(self):
        await self._run(self._connection.rollback)

    def interrupt(self):
        """At once, whatever the thread does; `await conn.interrupt()` is allowed."""
        self._connection.interrupt()
        return _Done()

    async def close(self):
        if self._connection is None or self._thread is None:
            return
        try:
            await self._run(self._connection.close)
        finally:
            self._connection = None
            self._stop()

    async def __aenter__(self):
        return await self.open()

    async def __aexit__(self, *_):
        await self.close()

    def __await__(self):
        return self.open().__await__()


def connect(database, **keywords):
    """`await connect(...)` or `async with connect(...)`: an AsyncConnection."""
    return AsyncConnection(database, **keywords)


class AsyncConnectionPool:
    """Connections to one database for many tasks."""

    def __init__(self, database, min_size=1, max_size=10, **keywords):
        if not 0 <= min_size <= max_size or max_size < 1:
            raise ValueError("0 <= min_size <= max_size and max_size >= 1 are needed")
        self._new = functools.partial(AsyncConnection, database, **keywords)
        self._min_size, self._max_size = min_size, max_size
        self._idle, self._size, self._waiting = [], 0, []
        self._closed = self._filled = False

    min_size = property(lambda self: self._min_size)
    max_size = property(lambda self: self._max_size)
    size = property(lambda self: self._size)

    async def _fill(self):
        self._filled = True
        while self._size < self._min_size:
            self._size += 1
            try:
                self._idle.append(await self._new().open())
            except BaseException:
                self._size -= 1
                raise

    async def acquire(self):
        """A connection to be given back by release()."""
        if self._closed:
            raise _sync.ProgrammingError("Cannot operate on a closed pool.")
        if not self._filled:
            await self._fill()
        while self._idle:
            conn = self._idle.pop()
            if not conn.sync._lost:
                return conn
            self._size -= 1  # its server is gone
            with contextlib.suppress(_sync.Error):
                await conn.close()
        if self._size < self._max_size:
            self._size += 1
            try:
                return await self._new().open()
            except BaseException:
                self._size -= 1
                self._wake()
                raise
        waiter = _asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            conn = await waiter
        except _asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result() is not None:
                await self.release(waiter.result())
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise
        return conn if conn is not None else await self.acquire()

    def _wake(self, conn=None):
        """Hand a connection, or the right to open one, to who waits longest."""
        while self._waiting:
            waiter = self._waiting.pop(0)
            if not waiter.done():
                waiter.set_result(conn)
                return True
        return False

    async def release(self, conn):
        """Give a connection back; what it left open is rolled back."""
        await _asyncio.shield(_asyncio.ensure_future(self._take_back(conn)))  # also when its task is cancelled once more

    async def _take_back(self, conn):
        try:
            if conn.sync is not None and not conn.sync._lost and not self._closed:
                if conn.in_transaction:
                    await conn.rollback()
                if not self._wake(conn):
                    self._idle.append(conn)
                return
        except _sync.Error:  # of no use any more: one that lost its server
            pass
        try:
            await conn.close()
        finally:
            self._size -= 1
            self._wake()

    @contextlib.asynccontextmanager
    async def connection(self):
        conn = await self.acquire()
        try:
            try:
                yield conn
            except BaseException:
                if conn.sync is not None:
                    with contextlib.suppress(_sync.Error):
                        await conn.rollback()
                raise
            if conn.sync is not None:
                await conn.commit()
        finally:
            await self.release(conn)

    async def close(self):
        self._closed = True
        idle, self._idle = self._idle, []
        for conn in idle:
            await conn.close()
            self._size -= 1
        while self._waiting:
            waiter = self._waiting.pop()
            if not waiter.done():
                waiter.set_exception(_sync.ProgrammingError("Cannot operate on a closed pool."))

    async def __aenter__(self):
        if not self._filled:
            await self._fill()
        return self

    async def __aexit__(self, *_):
        await self.close()
