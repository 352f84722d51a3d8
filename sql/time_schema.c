/* Schemas of the past: which one holds at a time, parsed and kept for the next who asks.
 *
 * The times at which the schema changed are read from its own history, once for each present schema. A schema is kept
 * under the time from which it holds; a connection keeps the KEPT that were used last for each database.
 * What can fail: memory, reading the history, a schema row that does not parse.
 */
#include <stdlib.h>

#include "sql/catalog_build.h"
#include "sql/time.h"

enum { KEPT = 8 };
struct past_schemas {
  int64_t newest;   /* of the schema that the list was read under */
  int64_t oldest;   /* where history began then: changes before are not in the list, so the kept ones go when it moves */
  int64_t *changes; /* ascending, each once */
  size_t n, capacity;
  struct { schema *s; int64_t from, used; } kept[KEPT];
  int64_t clock;
};

void past_schemas_free(database *d) {
  struct past_schemas *p = d->past;
  if (!p) return;
  for (int i = 0; i < KEPT; i++) schema_release(p->kept[i].s);
  free(p->changes);
  free(p);
  d->past = NULL;
}

static status add_change(struct past_schemas *p, int64_t time) {
  if (time == INT64_MAX) return HDB_OK;
  if (p->n == p->capacity) {
    size_t capacity = p->capacity ? 2 * p->capacity : 16;
    int64_t *changes = realloc(p->changes, capacity * sizeof *changes);
    if (!changes) return HDB_NOMEM;
    p->changes = changes, p->capacity = capacity;
  }
  p->changes[p->n++] = time;
  return HDB_OK;
}

static status take_version(void *context, const row_version *v) {
  TRY(add_change(context, v->from));
  return add_change(context, v->to);
}

static int ascending(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

static status read_changes(struct past_schemas *p, database *d) {
  p->n = 0;
  int64_t oldest = engine_oldest(d->engine), now = txn_view_time(d->txn);
  if (now < oldest) now = oldest;
  for (int i = 0; i < KEPT && p->oldest != oldest; i++) {
    schema_release(p->kept[i].s);
    p->kept[i].s = NULL;
  }
  p->oldest = oldest;
  TRY(versions_between(d->txn, TREE_SCHEMA, oldest, now, take_version, p));
  if (p->n) qsort(p->changes, p->n, sizeof *p->changes, ascending);
  size_t kept = 0;
  for (size_t i = 0; i < p->n; i++)
    if (kept == 0 || p->changes[kept - 1] != p->changes[i]) p->changes[kept++] = p->changes[i];
  p->n = kept;
  return HDB_OK;
}

static status load(hdb *db, int database, struct past_schemas *p, int64_t time, int64_t from, schema **out) {
  int at = 0;
  for (int i = 0; i < KEPT; i++) {
    if (p->kept[i].s && p->kept[i].from == from) {
      p->kept[i].used = ++p->clock;
      *out = p->kept[i].s;
      return HDB_OK;
    }
    if (!p->kept[i].s || (p->kept[at].s && p->kept[i].used < p->kept[at].used)) at = i;
  }
  TRY(schema_load(db, database, time, out));
  schema_resolve_indexes(db, *out);
  schema_release(p->kept[at].s);
  p->kept[at].s = *out, p->kept[at].from = from, p->kept[at].used = ++p->clock;
  return HDB_OK;
}

status past_schema(hdb *db, int database, int64_t time, schema **out, int64_t *from, int64_t *until) {
  struct database *d = &db->databases[database];
  TRY(database_begin(db, database));
  int64_t newest = txn_schema_stamp(d->txn).time;
  status rc = HDB_OK;
  if (!d->past && !(d->past = calloc(1, sizeof *d->past))) return sql_nomem(&db->err);
  struct past_schemas *p = d->past;
  if (!p->changes || p->newest != newest) rc = read_changes(p, d);
  if (rc != HDB_OK) return error_set(&db->err, rc, "%s", status_text(rc));
  p->newest = newest;
  size_t k = 0;
  while (k < p->n && p->changes[k] <= time) k++;
  *from = k ? p->changes[k - 1] : INT64_MIN;
  *until = k < p->n ? p->changes[k] : INT64_MAX;
  int64_t oldest = engine_oldest(d->engine), at = *from > oldest ? *from : oldest;
  return load(db, database, p, at ? at : 1, *from, out);
}
