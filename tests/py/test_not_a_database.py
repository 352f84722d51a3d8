"""A file that is no database: the same statements fail, with the same words, as in stock sqlite3; the rest goes on."""
import sqlite3 as stock

import pytest

import heliosdb_sqlite as ours

STATEMENTS = [
    "select 1", "select * from sqlite_master", "begin", "begin immediate", "create table t(x)",
    *("pragma " + p for p in (
        "journal_mode", "journal_mode=off", "journal_mode=wal", "synchronous", "synchronous=off", "cache_size", "cache_size=10",
        "user_version", "application_id", "schema_version", "data_version", "encoding", "page_count", "freelist_count",
        "max_page_count", "auto_vacuum", "table_info(x)", "integrity_check", "wal_checkpoint", "foreign_keys", "foreign_keys=1",
        "busy_timeout", "locking_mode", "temp_store", "secure_delete"))]


def outcome(module, path, sql):
    conn = module.connect(path, isolation_level=None)
    try:
        return conn.execute(sql).fetchall()
    except module.Error as e:
        return type(e).__name__, str(e), e.sqlite_errorname if hasattr(e, "sqlite_errorname") else None
    finally:
        conn.close()


@pytest.mark.parametrize("content", [b"boogers", b"SQLite format 3\0" + b"x" * 200, b"x" * 5000])
def test_the_same_statements_fail(tmp_path, content):
    path = tmp_path / "bad.db"
    path.write_bytes(content)
    for sql in STATEMENTS:
        assert outcome(ours, path, sql) == outcome(stock, path, sql), sql
        assert path.read_bytes() == content, sql
    assert [p.name for p in tmp_path.iterdir()] == ["bad.db"]
