/* What every part of a statement's compilation asks for: slot, register and state numbers, the databases it touches,
 * the authorizer's word. Can fail: memory (sticky in the compile's buffers), the authorizer.
 */
#include "sql/internal.h"

int compile_slot(compile *c, int columns) {
  buf_append(&c->slot_columns, &columns, sizeof columns);
  return c->slots_n++;
}

void compile_slot_columns(compile *c, int slot, int columns) {
  if ((size_t)(slot + 1) * sizeof columns > c->slot_columns.n) return; /* out of memory before */
  int now;
  memcpy(&now, c->slot_columns.p + (size_t)slot * sizeof now, sizeof now);
  if (columns > now) memcpy(c->slot_columns.p + (size_t)slot * sizeof columns, &columns, sizeof columns);
}

int compile_registers(compile *c, int n) {
  int first = c->registers_n;
  c->registers_n += n;
  return first;
}

int compile_state(compile *c) { return c->states_n++; }

void compile_reads(compile *c, int database) {
  if (database >= 0 && database < 64) c->program->reads |= (uint64_t)1 << database;
}

void compile_writes(compile *c, int database) {
  if (database >= 0 && database < 64) c->program->writes |= (uint64_t)1 << database;
}

status compile_authorize(compile *c, int action, const char *a, const char *b, int database, bool *ignore) {
  hdb *db = c->db;
  if (ignore) *ignore = false;
  if (!db->authorize) return HDB_OK;
  const char *name = database >= 0 && database < db->databases_n ? db->databases[database].name : NULL;
  int answer = db->authorize(db->authorize_data, action, a, b, name, c->auth_context);
  if (answer == HDB_OK) return HDB_OK;
  if (answer == HDB_IGNORE) {
    if (ignore) *ignore = true;
    return HDB_OK;
  }
  if (answer != HDB_DENY) return error_set(c->err, HDB_ERROR, "authorizer malfunction");
  if (action == HDB_READ && b && *b) {
    if (db->databases_n > 2 || database != DB_MAIN)
      return error_set(c->err, HDB_AUTH, "access to %s.%s.%s is prohibited", name ? name : "main", a, b);
    return error_set(c->err, HDB_AUTH, "access to %s.%s is prohibited", a, b);
  }
  return error_set(c->err, HDB_AUTH, "not authorized");
}
