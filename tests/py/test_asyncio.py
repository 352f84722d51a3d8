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


if __name__ == "__main__":
    unittest.main()
