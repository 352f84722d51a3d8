"""The demonstration's two databases, table by table, view by view, index by index, against stock sqlite3."""
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "demo"))
import demo  # noqa: E402


class DemoTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="helios-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def quiet(self, *_):
        pass

    def test_the_shop_is_equal_before_and_after(self):
        shop = os.path.join(self.folder, "shop.db")
        demo.make_shop(shop, 20_000)
        demo.tour("shop", shop, demo.SHOP_STEPS, self.folder, say=self.quiet)

    def test_proj_is_equal_before_and_after(self):
        proj = demo.proj_database()
        self.assertIsNotNone(proj, "pyproj must be installed (tests/tools/test-packages.sh)")
        demo.tour("proj", proj, demo.PROJ_STEPS, self.folder, say=self.quiet)

    def test_a_difference_is_found(self):
        import sqlite3
        a, b = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
        for conn in (a, b):
            conn.executescript("CREATE TABLE t(x); CREATE VIEW v AS SELECT x + 1 FROM t; INSERT INTO t VALUES(1)")
        self.assertEqual(demo.differences(a, b), [])
        b.execute("UPDATE t SET x = 1.0")
        self.assertEqual(len(demo.differences(a, b)), 2)


if __name__ == "__main__":
    unittest.main()
