"""The fixture that hands out branches."""
import pytest

import heliosdb_sqlite as sqlite3

pytest_plugins = ["heliosdb_sqlite.pytest_plugin"]


@pytest.fixture(scope="session")
def heliosdb_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("db") / "app.db"
    con = sqlite3.connect(path, isolation_level=None)
    con.execute("create table t(a)")
    con.execute("insert into t values(1)")
    con.close()
    return path


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_starts_from_the_prepared_state(heliosdb_branch, turn):
    assert heliosdb_branch.execute("select a from t").fetchall() == [(1,)]
    heliosdb_branch.execute("delete from t")
    heliosdb_branch.commit()
    assert heliosdb_branch.branch.startswith("test_every_test")


def test_branches_are_gone_afterwards(heliosdb_database):
    con = sqlite3.connect(heliosdb_database)
    assert [b.name for b in con.branches()] == ["main"]
    con.close()
