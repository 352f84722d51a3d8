"""heliosdb_sqlite.asyncio: connections and pools that are awaited."""
import asyncio
import os
import shutil
import tempfile
import unittest

import heliosdb_sqlite as sqlite3
from heliosdb_sqlite.asyncio import AsyncConnectionPool, connect


class AsyncioTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="helios-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "a.db")

    def run_async(self, coroutine):
        return asyncio.run(asyncio.wait_for(coroutine, 60))

    def test_a_connection(self):
        async def main():
            async with connect(":memory:") as conn:
                await conn.executescript("create table t(a, b)")
                cur = await conn.executemany("insert into t values(?, ?)", [(i, str(i)) for i in range(150)])
                self.assertEqual(cur.rowcount, 150)
                self.assertTrue(conn.in_transaction)
                await conn.commit()
                cur = conn.cursor()
                await cur.execute("select a from t order by a")
                self.assertEqual([row[0] async for row in cur], list(range(150)))
                await cur.execute("select a, b from t where a > ?", (147,))
                self.assertEqual(await cur.fetchone(), (148, "148"))
                self.assertEqual(await cur.fetchall(), [(149, "149")])
                self.assertEqual(cur.description[1][0], "b")
                conn.row_factory = sqlite3.Row
                row = await (await conn.execute("select 5 as x")).fetchone()
                self.assertEqual(row["x"], 5)
                await conn.run("create_function", "twice", 1, lambda x: 2 * x)
                self.assertEqual(tuple(await (await conn.execute("select twice(4)")).fetchone()), (8,))
                with self.assertRaises(sqlite3.OperationalError):
                    await conn.execute("nonsense")
            with self.assertRaises(sqlite3.ProgrammingError):
                conn.cursor()
        self.run_async(main())

    def test_awaiting_connect(self):
        async def main():
            conn = await connect(":memory:")
            self.assertEqual(await (await conn.execute("select 1")).fetchall(), [(1,)])
            await conn.close()
            await conn.close()
            with self.assertRaises(sqlite3.OperationalError):
                await connect("/nonexistent/x")
        self.run_async(main())

    def test_a_pool_commits_and_rolls_back(self):
        pool = AsyncConnectionPool(self.path, max_size=3)  # outside of any loop

        async def main():
            async with pool.connection() as conn:
                await conn.execute("create table t(a)")
                await conn.execute("insert into t values(1)")
            with self.assertRaises(KeyError):
                async with pool.connection() as conn:
                    await conn.execute("insert into t values(2)")
                    raise KeyError
            async with pool.connection() as conn:
                self.assertEqual(await (await conn.execute("select a from t")).fetchall(), [(1,)])
            await pool.close()
            with self.assertRaises(sqlite3.ProgrammingError):
                async with pool.connection():
                    pass
        self.run_async(main())

    def test_many_tasks_share_few_connections(self):
        async def main():
            async with AsyncConnectionPool(":memory:", min_size=1, max_size=3) as pool:
                inside, most = 0, 0

                async def work(i):
                    nonlocal inside, most
                    async with pool.connection() as conn:
                        inside += 1
                        most = max(most, inside)
                        row = await (await conn.execute("select ?", (i,))).fetchone()
                        inside -= 1
                        return row[0]
                self.assertEqual(await asyncio.gather(*map(work, range(30))), list(range(30)))
                self.assertEqual((most <= 3, pool.size <= 3), (True, True))
                blocked = [await pool.acquire() for _ in range(3)]
                waiting = asyncio.ensure_future(pool.acquire())
                await asyncio.sleep(0)
                waiting.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await waiting
                for conn in blocked:
                    await pool.release(conn)
                self.assertEqual(await asyncio.gather(*map(work, range(5))), list(range(5)))
        self.run_async(main())

    ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"

    def test_cancelling_a_task_interrupts_its_query(self):
        async def main():
            async with connect(self.path) as conn:
                await conn.execute("create table t(a)")
                for wait in (0, 0.05):
                    task = asyncio.ensure_future(conn.execute_fetchall(self.ENDLESS))
                    await asyncio.sleep(wait)
                    task.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await task
                    self.assertEqual(await conn.execute_fetchall("select 1"), [(1,)])
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(conn.execute(self.ENDLESS), 0.1)
                many = asyncio.ensure_future(conn.executemany("insert into t values(?)", ((i,) for i in iter(int, 1))))
                await asyncio.sleep(0.05)
                many.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await asyncio.wait_for(many, 20)
                await conn.rollback()
                queued = [asyncio.ensure_future(conn.execute_fetchall(self.ENDLESS)) for _ in range(3)]
                await asyncio.sleep(0.02)
                for task in reversed(queued):
                    task.cancel()
                self.assertTrue(all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*queued, return_exceptions=True)))
                self.assertEqual(await conn.execute_fetchall("select 2"), [(2,)])
        self.run_async(main())

    def test_a_pool_survives_cancelled_tasks(self):
        async def main():
            async with AsyncConnectionPool(self.path, max_size=2) as pool:
                async with pool.connection() as conn:
                    await conn.execute("create table t(a)")

                async def work():
                    async with pool.connection() as conn:
                        await conn.execute("insert into t values(1)")
                        await conn.execute(self.ENDLESS)
                tasks = [asyncio.ensure_future(work()) for _ in range(6)]
                await asyncio.sleep(0.1)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                async with pool.connection() as one, pool.connection() as two:
                    for conn in (one, two):
                        self.assertFalse(conn.in_transaction)
                        self.assertEqual(await conn.execute_fetchall("select count(*) from t"), [(0,)])
        self.run_async(main())

    def test_as_aiosqlite_is_used(self):
        async def main():
            async with connect(":memory:") as db:
                db.row_factory = sqlite3.Row
                await db.execute("create table t(a integer primary key, b)")
                async with db.execute("insert into t(b) values(?)", ("x",)) as cursor:
                    self.assertEqual((cursor.rowcount, cursor.lastrowid), (1, 1))
                self.assertEqual((await db.execute_insert("insert into t(b) values('y')"))[0], 2)
                await db.commit()
                async with db.execute("select * from t") as cursor:
                    self.assertEqual([row["b"] async for row in cursor], ["x", "y"])
                async with db.cursor() as cursor:
                    await cursor.execute("select 1")
                cursor = await db.cursor()
                await cursor.execute("select count(*) from t")
                self.assertEqual(tuple(await cursor.fetchone()), (2,))
                self.assertEqual([tuple(r) for r in await db.execute_fetchall("select b from t")], [("x",), ("y",)])
                await db.create_function("twice", 1, lambda x: 2 * x)
                self.assertEqual([tuple(r) for r in await db.execute_fetchall("select twice(4)")], [(8,)])
                db.row_factory = None
                self.assertEqual(len([line async for line in db.iterdump()]), 5)
                async with connect(":memory:") as copy:
                    await db.backup(copy)
                    self.assertEqual(await copy.execute_fetchall("select count(*) from t"), [(2,)])
                self.assertEqual(db.isolation_level, "")
                await db.interrupt()
        self.run_async(main())

    def test_a_pool_outlives_its_server(self):
        """Connections whose server has gone are not handed out again, whether they were idle or out; a plain one stays an error."""
        async def main():
            server = sqlite3.start_server(self.path, port=0, password="pw")
            keywords = {"heliosdb_mode": "server", "dsn": server.dsn}
            pool = AsyncConnectionPool("app", max_size=3, **keywords)
            alone = await connect("app", **keywords)
            async with pool.connection() as one, pool.connection() as two:
                await one.execute("create table t(a)")
                await two.execute("select 1")
            idle, out = await pool.acquire(), await pool.acquire()
            await pool.release(idle)
            await out.execute("insert into t values(1)")
            server.stop()
            with self.assertRaises(sqlite3.OperationalError):
                await out.execute("insert into t values(2)")
            self.assertFalse(out.in_transaction)
            server = sqlite3.start_server(self.path, port=server.port, password="pw")
            try:
                await pool.release(out)
                for _ in range(5):
                    async with pool.connection() as three, pool.connection() as four:
                        await three.execute("insert into t values(3)")
                        self.assertNotIn(out, (three, four))
                        self.assertEqual(await four.execute_fetchall("select count(*) from t where a < 3"), [(0,)])
                self.assertLessEqual(pool.size, 2)
                for _ in range(2):
                    with self.assertRaises(sqlite3.OperationalError):
                        await alone.execute("select 1")
                await alone.close()
                await pool.close()
            finally:
                server.stop()
        self.run_async(main())

    def test_over_the_wire(self):
        with sqlite3.start_server(self.path, port=0, password="pw") as server:
            keywords = {"heliosdb_mode": "server", "dsn": server.dsn}

            async def main():
                pool = AsyncConnectionPool("app", max_size=3, **keywords)

                async def work(i):
                    async with pool.connection() as conn:
                        await conn.execute("insert into t values(?)", (i,))
                        cur = conn.cursor()
                        await cur.execute("with recursive n(i) as (select 1 union all select i + 1 from n limit 1000) select i from n")
                        return sum([row[0] async for row in cur])
                async with connect("app", **keywords) as conn:
                    await conn.execute("create table t(a)")
                    self.assertEqual(await asyncio.gather(*map(work, range(20))), [500500] * 20)
                    self.assertEqual(await conn.execute_fetchall("select count(*), sum(a) from t"), [(20, 190)])
                    task = asyncio.ensure_future(conn.execute_fetchall(self.ENDLESS))
                    await asyncio.sleep(0.05)
                    task.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await task
                    self.assertEqual(await conn.execute_fetchall("select 1"), [(1,)])
                await pool.close()
            self.run_async(main())

    def test_one_pool_in_several_loops(self):
        pool = AsyncConnectionPool(self.path)

        async def main(i):
            async with pool.connection() as conn:
                await conn.execute("create table if not exists t(a)")
                await conn.execute("insert into t values(?)", (i,))
                return await conn.execute_fetchall("select count(*) from t")
        self.assertEqual([self.run_async(main(i)) for i in range(3)], [[(1,)], [(2,)], [(3,)]])
        self.run_async(pool.close())


if __name__ == "__main__":
    unittest.main()
