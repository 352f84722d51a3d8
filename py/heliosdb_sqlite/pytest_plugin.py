"""pytest fixture: every test on a branch of its own of one prepared database, thrown away afterwards.

    # conftest.py
    import pytest

    @pytest.fixture(scope="session")
    def heliosdb_database(tmp_path_factory):
        path = tmp_path_factory.mktemp("db") / "app.db"
        ...  # make tables, load data, once
        return path

    def test_something(heliosdb_branch):
        heliosdb_branch.execute("DELETE FROM customer")  # nobody else sees it

Installed with the package; without it, `pytest_plugins = ["heliosdb_sqlite.pytest_plugin"]` does the same. The database
may also be named by the ini option `heliosdb_database`.
"""
import re
import uuid

import pytest

import heliosdb_sqlite


def pytest_addoption(parser):
    parser.addini("heliosdb_database", "path of the database whose branches the fixture heliosdb_branch hands out")


@pytest.fixture(scope="session")
def heliosdb_database(request):
    """Path of the prepared database; override it in conftest.py."""
    path = request.config.getini("heliosdb_database")
    if not path:
        raise pytest.UsageError("heliosdb_branch needs a database: override the fixture heliosdb_database, "
                                "or set the ini option of that name")
    return str(path)


@pytest.fixture
def heliosdb_branch(request, heliosdb_database):
    """A connection on a fresh branch of the database; the branch goes when the test ends."""
    name = f"{re.sub(r'[^A-Za-z0-9_]', '_', request.node.name)[:40]}_{uuid.uuid4().hex[:8]}"
    keeper = heliosdb_sqlite.connect(heliosdb_database)
    try:
        branch = keeper.create_branch(name, from_branch="main")
        connection = branch.connect()
        try:
            yield connection
        finally:
            connection.close()
            branch.drop()
    finally:
        keeper.close()
