/* CREATE TABLE AS and SELECT INTO: a table of the columns that the query is described with, then one INSERT .. SELECT; both
 * in one transaction. (The engine's own CREATE TABLE AS knows SQLite's five affinities only.) */
#include <stdio.h>

#include "server/session.h"
#include "sql/pg_enum.h"

static void put_type(session *s, buf *out, uint32_t oid, int32_t modifier) {
  char name[64];
  bool array;
  if (pg_is_own_type(oid) && hdb_type_name(s->db, oid, name, &array)) {
    pg_enum_declare(name, array, out);
    return;
  }
  const pg_type *t = pg_type_by_oid(oid == PG_UNKNOWN || oid == PG_NAME ? PG_TEXT : oid);
  if (!t) t = pg_type_by_oid(PG_TEXT);
  buf_text(out, t->oid == PG_BPCHAR ? "char" : t->oid == PG_CHAR ? "char(1)" : t->name);
  if (modifier < 4) return;
  if (t->oid == PG_VARCHAR || t->oid == PG_BPCHAR) buf_printf(out, "(%d)", (int)modifier - 4);
  if (t->oid == PG_NUMERIC) buf_printf(out, "(%d,%d)", (int)(modifier - 4) >> 16, (int)(modifier - 4) & 0xffff);
}

static void put_table(buf *out, const translation *t) {
  if (t->object_schema && !t->temp) {
    buf_quoted_name(out, t->object_schema);
    buf_byte(out, '.');
  } else if (t->temp) {
    buf_text(out, "temp.");
  }
  buf_quoted_name(out, t->object);
}

static status make(session *s, const translation *t, const description *d, int64_t *rows) {
  buf sql = BUF_INIT;
  buf_text(&sql, "CREATE TABLE ");
  put_table(&sql, t);
  buf_text(&sql, " /*postgres*/ (");
  for (int i = 0; i < d->columns_n; i++) {
    if (i) buf_text(&sql, ", ");
    buf_quoted_name(&sql, i < t->names_n ? t->names[i] : d->columns[i].label);
    buf_byte(&sql, ' ');
    put_type(s, &sql, d->columns[i].type, d->columns[i].modifier);
  }
  buf_byte(&sql, ')');
  status rc = buf_cstr(&sql) ? run_text(s, (const char *)sql.p) : error_set(&s->err, HDB_NOMEM, "out of memory");
  *rows = 0;
  if (rc == HDB_OK && !t->no_data) {
    buf_clear(&sql);
    buf_text(&sql, "INSERT INTO ");
    put_table(&sql, t);
    buf_printf(&sql, " %s", t->texts[0]);
    rc = buf_cstr(&sql) ? run_text(s, (const char *)sql.p) : error_set(&s->err, HDB_NOMEM, "out of memory");
    *rows = hdb_changes(s->db);
  }
  buf_free(&sql);
  return rc;
}

static status describe(session *s, const translation *t, arena *memory, description *d) {
  hdb_stmt *q;
  const char *tail;
  int rc = hdb_prepare(s->db, t->texts[0], -1, 0, &q, &tail);
  if (rc != HDB_OK) {
    s->current = t;
    return engine_failed(s, rc);
  }
  int columns = hdb_column_count(q);
  bool parameters = hdb_bind_parameter_count(q) > 0;
  hdb_finalize(q);
  if (parameters) return error_set(&s->err, HDB_ERROR, "not supported yet: parameters in CREATE TABLE AS");
  TRY(hdb_describe(s->db, t->texts[0], NULL, 0, memory, d));
  if (d->columns_n != columns || columns == 0) return error_set(&s->err, HDB_ERROR, "not supported yet: CREATE TABLE AS of this query");
  if (t->names_n > columns) return session_fail(s, "42601", NULL, NULL, "too many column names were specified");
  return HDB_OK;
}

status create_as_run(session *s, const translation *t) {
  arena memory = {0};
  const char *type, *sql;
  description d = {0};
  int64_t rows = 0;
  int found = hdb_schema_text(s->db, t->temp ? "temp" : t->object_schema ? t->object_schema : "main", t->object, &memory, &type, &sql);
  status rc = found == HDB_OK ? HDB_OK : engine_failed(s, found);
  if (rc == HDB_OK && sql && t->if_not_exists) {
    session_notice(s, "NOTICE", "42P07", arena_printf(&memory, "relation \"%s\" already exists, skipping", t->object));
    proto_command_complete(&s->out, "CREATE TABLE AS");
    arena_clear(&memory);
    return HDB_OK;
  }
  if (rc == HDB_OK && sql) rc = session_fail(s, "42P07", NULL, NULL, "relation \"%s\" already exists", t->object);
  if (rc == HDB_OK) rc = describe(s, t, &memory, &d);
  bool own = rc == HDB_OK && hdb_get_autocommit(s->db);
  if (own) rc = run_text(s, "BEGIN");
  if (rc == HDB_OK) rc = make(s, t, &d, &rows);
  if (own && rc == HDB_OK) rc = run_text(s, "COMMIT");
  if (own && rc != HDB_OK && !hdb_get_autocommit(s->db)) hdb_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  s->queried = true;
  arena_clear(&memory);
  TRY(rc);
  char tag[60];
  snprintf(tag, sizeof tag, t->no_data ? "CREATE TABLE AS" : "SELECT %lld", (long long)rows);
  proto_command_complete(&s->out, tag);
  return HDB_OK;
}
