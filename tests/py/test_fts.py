"""Full-text tables beside the stock sqlite3: the same statements, the same rows, the same errors."""
import random
import sqlite3
import unittest

import heliosdb_sqlite as helios

WORDS = "the quick brown fox jumps over lazy dog running runner ran relational database Été CAFÉ naïve straße".split()


def run(module, statements, compare_errors=True):
    conn = module.connect(":memory:", isolation_level=None)
    out = []
    for sql in statements:
        sql, parameters = sql if isinstance(sql, tuple) else (sql, ())
        try:
            out.append([tuple(round(v, 9) if isinstance(v, float) else v for v in row) for row in conn.execute(sql, parameters)])
        except Exception as e:
            out.append(f"{type(e).__name__}: {e}")
    return out


class Both(unittest.TestCase):
    maxDiff = 2000

    def same(self, *statements):
        ours, theirs = run(helios, statements), run(sqlite3, statements)
        for statement, a, b in zip(statements, ours, theirs):
            self.assertEqual(a, b, statement)

    def rows(self, table, columns, n=40, seed=1):
        r = random.Random(seed)
        return [(f"INSERT INTO {table} VALUES ({','.join('?' * columns)})",
                 tuple(" ".join(r.choice(WORDS) + r.choice(["", "", ",", ".", " -"]) for _ in range(r.randint(0, 25))) for _ in range(columns)))
                for _ in range(n)]


class Fts5(Both):
    MAKE = "CREATE VIRTUAL TABLE t USING fts5(a, b)"

    def test_queries(self):
        queries = ["fox", "quick brown", '"quick brown"', "quick AND brown", "quick OR lazy", "fox NOT dog", "NEAR(quick fox, 3)", "NEAR(fox dog)",
                   "ru*", '"brown fo" *', "a:fox", "b : (fox OR dog)", "{a b} : fox", "-a : fox", "^the", "a: ^ fox", "quick + brown", "fox NOT (dog OR lazy)",
                   "ete", "cafe", "naive", "STRASSE", "straße", "", '""', "nosuch:fox", "AND", "fox AND", "(fox", '"fox', "fox)", "fox !", "NEAR(a b", "fox dog lazy OR the",
                   "a b:", "NEAR(fox dog, x)", "one (two)", "*", "fox*dog", 'a:"the quick" OR b:over', "NOT fox", "NEAR(the quick brown, 5)"]
        for make in (self.MAKE, "CREATE VIRTUAL TABLE t USING fts5(a, b UNINDEXED, tokenize='porter ascii')", "CREATE VIRTUAL TABLE t USING fts5(a, b, tokenize = 'porter unicode61 remove_diacritics 2')"):
            statements = [make, *self.rows("t", 2)]
            for q in queries:
                statements.append(("SELECT rowid FROM t WHERE t MATCH ?", (q,)))
                statements.append(("SELECT rowid, rank, bm25(t, 2.0, 0.5) FROM t(?) ORDER BY rank", (q,)))
                statements.append(("SELECT highlight(t, 0, '<', '>'), snippet(t, -1, '[', ']', '...', 5), snippet(t, 1, '[', ']', '~', 8) FROM t WHERE t = ?", (q,)))
            self.same(*statements)

    def test_changes(self):
        self.same(self.MAKE, "INSERT INTO t VALUES ('one two', 'three')", "INSERT INTO t(rowid, a) VALUES (10, 'four')", "INSERT INTO t(rowid, a) VALUES (10, 'five')",
                  "INSERT OR REPLACE INTO t(rowid, a) VALUES (10, 'six')", "SELECT rowid, * FROM t", "UPDATE t SET a = 'seven' WHERE t MATCH 'six'", "SELECT rowid, * FROM t('seven')",
                  "UPDATE t SET rowid = 20 WHERE rowid = 10", "SELECT rowid, a, b FROM t ORDER BY rowid DESC", "DELETE FROM t WHERE t MATCH 'one'", "SELECT * FROM t",
                  "INSERT INTO t(t) VALUES ('rebuild')", "INSERT INTO t(t) VALUES ('optimize')", "INSERT INTO t(t) VALUES ('integrity-check')", "INSERT INTO t(t) VALUES ('nonsense')",
                  "INSERT INTO t(t, rank) VALUES ('rank', 'bm25(10.0, 1.0)')", "SELECT a, rank FROM t('seven')", "SELECT name, sql FROM sqlite_schema ORDER BY 1",
                  "SELECT k, v FROM t_config WHERE k = 'version'", "SELECT id, c0, c1 FROM t_content", "SELECT id, hex(sz) FROM t_docsize", "SELECT count(*) FROM t WHERE rowid > 15",
                  "ALTER TABLE t RENAME TO u", "SELECT * FROM u('seven')", "SELECT name, sql FROM sqlite_schema ORDER BY 1", "ALTER TABLE u ADD COLUMN x", "CREATE INDEX i ON u(a)",
                  "DROP TABLE u", "SELECT * FROM sqlite_schema")

    def test_joins_and_rowids(self):
        self.same(self.MAKE, *self.rows("t", 2), "CREATE TABLE o(id INTEGER PRIMARY KEY, w)", "INSERT INTO o VALUES (1,'fox'), (2,'dog'), (3,'the quick')",
                  "SELECT o.id, t.rowid FROM o, t WHERE t MATCH o.w ORDER BY 1, 2", "SELECT o.id, t.rowid FROM o JOIN t ON t.rowid = o.id ORDER BY 1",
                  "SELECT rowid FROM t WHERE t MATCH 'fox' AND rowid BETWEEN 5 AND 20", "SELECT rowid FROM t WHERE a MATCH 'fox' AND b MATCH 'dog'",
                  "SELECT rowid FROM t WHERE t MATCH 'fox' ORDER BY rowid DESC LIMIT 3",
                  "SELECT rowid FROM t WHERE t MATCH 'fox' AND rank MATCH 'bm25(5.0, 1.0)' ORDER BY rank LIMIT 5", "SELECT bm25(o) FROM o", "SELECT highlight(1, 2, 3, 4)")

    def test_declarations(self):
        for arguments in ("", "a, a UNINDEXED", "a, rank", "a, tokenize = 'nosuch'", "a, nosuch = 1", "a b c", "a INDEXED", "a, prefix = '2 3'", "a, prefix = 'x'", "a, columnsize = 0",
                          "a, detail = none", "[x y], 'z w'"):
            self.same(f"CREATE VIRTUAL TABLE t USING fts5({arguments})", "SELECT name, sql FROM sqlite_schema ORDER BY 1", "SELECT * FROM pragma_table_xinfo('t')")
        self.same("CREATE VIRTUAL TABLE x USING nosuch(a)", "CREATE VIRTUAL TABLE IF NOT EXISTS t USING fts5(a)", "CREATE VIRTUAL TABLE IF NOT EXISTS t USING fts5(b)", "CREATE VIRTUAL TABLE t USING fts5(b)")

    def test_transactions(self):
        self.same(self.MAKE, "BEGIN", "INSERT INTO t VALUES ('one', 'two')", "SAVEPOINT s", "DELETE FROM t", "SELECT count(*) FROM t('one')", "ROLLBACK TO s", "SELECT count(*) FROM t('one')",
                  "ROLLBACK", "SELECT count(*) FROM t", "CREATE TABLE p(x)", "CREATE TRIGGER g AFTER INSERT ON p BEGIN INSERT INTO t(rowid, a) VALUES (new.rowid, new.x); END",
                  "INSERT INTO p VALUES ('hello world')", "SELECT rowid, a FROM t('world')", "SELECT changes()")


class Fts4(Both):
    def test_queries(self):
        queries = ["fox", "quick brown", '"quick brown"', "quick AND brown", "quick OR lazy", "fox NOT dog", "quick NEAR/3 fox", "fox NEAR dog", "ru*", '"brown fo*"', "a:fox", "^the",
                   "fox NOT (dog OR lazy)", "été", "", '""', "AND", "fox AND", "(fox", '"fox', "fox)", "running", "(quick OR fox) AND dog", "fox AND OR dog", "nosuch:fox"]
        for options in ("a, b", "a, b, tokenize=porter", "a, b, tokenize=unicode61", "a, b, notindexed=b", 'a, b, tokenize=unicode61 "remove_diacritics=2"'):
            statements = [f"CREATE VIRTUAL TABLE t USING fts4({options})", *self.rows("t", 2)]
            for q in queries:
                statements.append(("SELECT docid, rowid, offsets(t), hex(matchinfo(t)), hex(matchinfo(t, 'pcnalsyb')) FROM t WHERE t MATCH ?", (q,)))
            self.same(*statements)

    def test_changes(self):
        for version in ("fts3", "fts4"):
            self.same(f"CREATE VIRTUAL TABLE t USING {version}(a, b)", "INSERT INTO t VALUES ('one two', 'three')", "INSERT INTO t(docid, a) VALUES (10, 'four')",
                      "INSERT INTO t(docid, a) VALUES (10, 'five')", "SELECT docid, * FROM t", "UPDATE t SET a = 'seven' WHERE t MATCH 'four'", "SELECT rowid, a FROM t WHERE a MATCH 'seven'",
                      "UPDATE t SET docid = 20 WHERE docid = 10", "SELECT docid FROM t ORDER BY docid DESC", "DELETE FROM t WHERE docid = 1", "SELECT * FROM t",
                      "INSERT INTO t(t) VALUES ('rebuild')", "INSERT INTO t(t) VALUES ('optimize')", "INSERT INTO t(t) VALUES ('nonsense')", "SELECT name, sql FROM sqlite_schema ORDER BY 1",
                      "SELECT * FROM t_content", "DROP TABLE t", "SELECT * FROM sqlite_schema")


class Others(Both):
    def test_rtree(self):
        self.same("create virtual table t using rtree(id, x0, x1, +aux text, +b)",
                  "select name, sql from sqlite_schema",
                  "insert into t values(1,2,1,3,4)",
                  "insert into t values(1,1.1,2,'a',4)",
                  "insert into t values(1,1,2,'a',4)",
                  "insert into t values(null,'x',2,'a',4)",
                  "insert into t values(7,1,2.7,'a',4)",
                  "select * from t",
                  "select * from t where x0>0.5 and x1<=3",
                  "select * from t where id=1",
                  "select rowid,id from t where rowid=1.0",
                  "update t set id=5 where id=1",
                  "update t set aux='z', x1=9 where x0>1",
                  "insert or replace into t values(2,7,8,'r',1)",
                  "insert or ignore into t values(2,17,18,'r',1)",
                  "delete from t where x1 > 8.5",
                  "select typeof(x0),typeof(id),typeof(aux),t.* from t order by id",
                  "drop table t",
                  "select * from sqlite_schema",
                  "create virtual table i using rtree_i32(id,a,b)",
                  "insert into i values(1,2.9,5)",
                  "select * from i")
        for a in ("", "id", "id,x", "id,x,y,z", "id,x,+a", "id,+a,x,y", ",".join(["id"] + [f"c{k}" for k in range(12)])):
            self.same(f"CREATE VIRTUAL TABLE z USING rtree({a})")

    def test_fts5vocab(self):
        self.same("create virtual table v using fts5(a,b)",
                  "insert into v values('one two two','three one'),('two','x')",
                  "create virtual table w using fts5vocab(v,'row')",
                  "create virtual table w2 using fts5vocab(v,'col')",
                  "create virtual table w3 using fts5vocab('v','instance')",
                  "select * from w",
                  "select * from w2",
                  "select * from w3",
                  "select * from w where term>='t'",
                  "create virtual table w4 using fts5vocab(v,'zz')",
                  "drop table v",
                  "select * from w")

    def test_deep_nesting_is_an_error(self):
        conn = helios.connect(":memory:")
        for make in ("fts5(a)", "fts4(a)"):
            conn.execute(f"CREATE VIRTUAL TABLE t USING {make}")
            with self.assertRaises(helios.OperationalError):
                conn.execute("SELECT * FROM t WHERE t MATCH ?", ("(" * 100000 + "a" + ")" * 100000,)).fetchall()
            conn.execute("DROP TABLE t")


class Tokens(unittest.TestCase):
    def test_every_character_as_sqlite_takes_it(self):
        found = []
        for module in (sqlite3, helios):
            conn = module.connect(":memory:")
            conn.execute("CREATE VIRTUAL TABLE t USING fts5(a)")
            rows = [(c, f"q{chr(c)}z {chr(c)}") for c in range(0x80, 0x2200) if c < 0xd800]
            conn.executemany("INSERT INTO t(rowid, a) VALUES (?, ?)", rows)
            found.append([conn.execute("SELECT rowid FROM t(?)", (q,)).fetchall() for q in ("q z", '"q z"', "qz", "qaz", "qez", "qoz", "quz", "q*")])
        self.assertEqual(found[0], found[1])

    def test_stems(self):
        words = """caresses ponies ties caress cats feed agreed plastered bled motoring sing conflated troubled sized hopping tanned falling hissing fizzed failing filing happy sky
            relational conditional rational valenci hesitanci digitizer conformabli radicalli differentli vileli analogousli vietnamization predication operator feudalism decisiveness
            hopefulness callousness formaliti sensitiviti sensibiliti triplicate formative formalize electriciti electrical hopeful goodness revival allowance inference airliner gyroscopic
            adjustable defensible irritant replacement adjustment dependent adoption homologou communism activate angulariti homologous effective bowdlerize probate rate cease controll roll
            generalizations oscillators yes say syzygy a be abcdefghijklmnopqrstuvwxyz12 2023abc x1""".split()
        for make in ("fts5(a, tokenize=porter)", "fts4(a, tokenize=porter)"):
            found = []
            for module in (sqlite3, helios):
                conn = module.connect(":memory:")
                conn.execute(f"CREATE VIRTUAL TABLE t USING {make}")
                conn.executemany("INSERT INTO t(a) VALUES (?)", [(w,) for w in words])
                found.append([(w, conn.execute("SELECT rowid FROM t WHERE t MATCH ?", (w,)).fetchall()) for w in words])
            self.assertEqual(found[0], found[1])


if __name__ == "__main__":
    unittest.main()
