/* What the engine knows about the file: the setting mirror.note, the setting mirror, the objects of an imported file.
 *
 * The note is written without a sync of its own: when power loss undoes it, the file's own stamp still says what it
 * equals, and the worst that follows is a look into the file.
 */
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/random.h>

#include "sql/mirror_internal.h"

static status fail(hdb *db, status rc) { return error_set(&db->err, rc, "%s", status_text(rc)); }

static uint64_t random_number(void) {
  uint64_t v = 0;
  if (getrandom(&v, sizeof v, 0) != sizeof v) sqlite3_randomness(sizeof v, &v);
  return (v >> 1) | 1; /* positive, never 0 */
}

/* The first format's: stamp, id, time, size, mtime, inode, counter, leaving_wal; eight bytes each. */
static status load_legacy(mirror_note *n, engine *e) {
  buf b = BUF_INIT;
  uint64_t was[8];
  status rc = engine_setting_get(e, "mirror.state", &b);
  if (rc == HDB_OK && b.n == sizeof was) {
    memcpy(was, b.p, sizeof was);
    n->legacy = was[0], n->time = (int64_t)was[2], n->signature = (int64_t)was[6];
    if (was[1]) n->id = was[1];
    n->foreign = was[0] == 0 && n->time > 0;
    n->look = (file_look){.size = (int64_t)was[3], .mtime_ns = (int64_t)was[4], .inode = (int64_t)was[5]};
  }
  buf_free(&b);
  return rc == HDB_NOTFOUND ? HDB_OK : rc;
}

status mirror_note_load(struct mirror *m, hdb *db) {
  buf b = BUF_INIT;
  engine *e = mirror_engine(m);
  m->note = (mirror_note){0};
  status rc = engine_setting_get(e, "mirror.note", &b);
  if (rc == HDB_OK && b.n == sizeof m->note) {
    memcpy(&m->note, b.p, sizeof m->note);
  } else if (rc == HDB_OK) {
    rc = HDB_CORRUPT;
  } else if (rc == HDB_NOTFOUND) {
    m->note.id = random_number(), m->note.secret[0] = random_number(), m->note.secret[1] = random_number();
    rc = load_legacy(&m->note, e);
    if (rc == HDB_OK) rc = engine_setting_put(e, "mirror.note", slice_of(&m->note, sizeof m->note));
  }
  buf_free(&b);
  return rc == HDB_OK ? HDB_OK : fail(db, rc);
}

status mirror_note_store(struct mirror *m, hdb *db) {
  status rc = engine_setting_note(mirror_engine(m), "mirror.note", slice_of(&m->note, sizeof m->note));
  return rc == HDB_OK ? HDB_OK : fail(db, rc);
}

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

uint64_t mirror_stamp(const struct mirror *m, int64_t time) {
  uint64_t h = mix(m->note.secret[0] + mix((uint64_t)time ^ m->note.secret[1]) + m->note.id);
  return (h >> 1) | 1;
}

status mirror_setting(hdb *db, engine *e, int wanted, bool *off) {
  buf b = BUF_INIT;
  status rc = engine_setting_get(e, "mirror", &b);
  *off = rc == HDB_OK && slice_equal(buf_slice(&b), slice_str("off"));
  buf_free(&b);
  if (rc != HDB_OK && rc != HDB_NOTFOUND) return fail(db, rc);
  if (wanted < 0 || *off == (wanted == 0)) return HDB_OK;
  rc = engine_setting_put(e, "mirror", slice_str(wanted ? "on" : "off"));
  if (rc != HDB_OK) return fail(db, rc);
  *off = wanted == 0;
  return HDB_OK;
}

/* ---- which tree each table of an imported file went to ---- */
status mirror_objects_note(hdb *own) {
  schema *s = NULL;
  buf b = BUF_INIT;
  txn *t = own->databases[DB_MAIN].txn;
  status rc = txn_begin(t, TXN_READ, 0);
  if (rc != HDB_OK) return fail(own, rc);
  rc = catalog_schema(own, DB_MAIN, &s);
  for (int i = 0; rc == HDB_OK && i < s->tables_n; i++) {
    if (s->in_order[i]->kind != TABLE_ORDINARY) continue;
    buf_varint(&b, strlen(s->in_order[i]->name));
    buf_text(&b, s->in_order[i]->name);
    buf_be32(&b, s->in_order[i]->tree);
  }
  txn_rollback(t);
  if (rc == HDB_OK) {
    rc = buf_failed(&b) ? HDB_NOMEM : engine_setting_put(own->databases[DB_MAIN].engine, "mirror.objects", buf_slice(&b));
    if (rc != HDB_OK) fail(own, rc);
  }
  buf_free(&b);
  return rc;
}

status mirror_objects_seed(hdb *own, sqlite3 *file, bool whole) {
  buf b = BUF_INIT;
  sqlite3_stmt *s = NULL;
  TRY(file_run(own, file, "CREATE TABLE IF NOT EXISTS _heliosdb_objects(name TEXT PRIMARY KEY, tree INTEGER) WITHOUT ROWID; DELETE FROM _heliosdb_objects"));
  if (whole) return HDB_OK;
  status rc = engine_setting_get(own->databases[DB_MAIN].engine, "mirror.objects", &b);
  if (rc == HDB_NOTFOUND) rc = HDB_OK;
  if (rc != HDB_OK) CHECK(fail(own, rc));
  CHECK(mirror_sqlite_error(own, file, sqlite3_prepare_v2(file, "INSERT INTO _heliosdb_objects VALUES(?, ?)", -1, &s, NULL)));
  for (const uint8_t *p = b.p, *end = b.p + b.n; p && p < end;) {
    uint64_t n = 0;
    p = varint_get(p, end, &n);
    if (!p || (uint64_t)(end - p) < n + 4) CHECK(fail(own, HDB_CORRUPT));
    sqlite3_bind_text(s, 1, (const char *)p, (int)n, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, get_be32(p + n));
    sqlite3_step(s);
    CHECK(mirror_sqlite_error(own, file, sqlite3_reset(s)));
    p += n + 4;
  }
out:
  sqlite3_finalize(s);
  buf_free(&b);
  return rc;
}
