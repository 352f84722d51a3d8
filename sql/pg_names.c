/* What PostgreSQL would call constraints and indexes that were not given a name. */
#include <ctype.h>
#include <strings.h>

#include "sql/internal.h"
#include "sql/pg_catalog.h"

/* Made by ALTER TABLE .. ADD PRIMARY KEY, ADD UNIQUE: 'p', 'u', else 0 (server/alter.c). */
char pg_index_added_as(const index_ *x) {
  if (x->origin != 'c' || !x->sql) return 0;
  return strstr(x->sql, "/*postgres primary key*/") ? 'p' : strstr(x->sql, "/*postgres constraint*/") ? 'u' : 0;
}

const char *pg_index_name(arena *memory, const table *t, const index_ *x) {
  if (!x || x->origin == 'p' || x->is_primary) return t->primary_key_name ? t->primary_key_name : arena_printf(memory, "%s_pkey", t->name);
  if (x->constraint) return x->constraint;
  if (x->origin != 'u') return x->name;
  buf b = BUF_INIT;
  buf_text(&b, t->name);
  for (int k = 0; k < x->key_columns_n; k++)
    if (x->columns[k].column >= 0) buf_printf(&b, "_%s", t->columns[x->columns[k].column].name);
  buf_text(&b, "_key");
  const char *name = arena_strndup(memory, (char *)b.p, b.n);
  buf_free(&b);
  return name;
}

const char *pg_foreign_key_name(arena *memory, const foreign_key *k) {
  if (k->name) return k->name;
  buf b = BUF_INIT;
  buf_text(&b, k->child->name);
  for (int i = 0; i < k->n; i++) buf_printf(&b, "_%s", k->child->columns[k->child_columns[i]].name);
  buf_text(&b, "_fkey");
  const char *name = arena_strndup(memory, (char *)b.p, b.n);
  buf_free(&b);
  return name;
}

/* A CHECK's column when it speaks of one alone, -1: of none or several. */
static int check_column(const table *t, const check *c) {
  const char *p = (const char *)c->text.p, *end = p + c->text.n;
  int found = -1;
  while (p < end) {
    if (*p == '\'') {
      for (p++; p < end && *p != '\''; p++) {
      }
      p++;
      continue;
    }
    if (!isalpha((unsigned char)*p) && *p != '_') {
      p++;
      continue;
    }
    const char *from = p;
    while (p < end && (isalnum((unsigned char)*p) || *p == '_')) p++;
    for (int m = 0; m < t->columns_n; m++) {
      if (strlen(t->columns[m].name) != (size_t)(p - from) || strncasecmp(t->columns[m].name, from, (size_t)(p - from)) != 0) continue;
      if (found >= 0 && found != m) return -1;
      found = m;
    }
  }
  return found;
}

static const char *plain_check_name(arena *memory, const table *t, int k) {
  const check *c = &t->checks[k];
  bool unnamed = strlen(c->name) == c->text.n && memcmp(c->name, c->text.p, c->text.n) == 0;
  if (!unnamed) return c->name;
  int column = check_column(t, c);
  return column >= 0 ? arena_printf(memory, "%s_%s_check", t->name, t->columns[column].name) : arena_printf(memory, "%s_check", t->name);
}

const char *pg_check_name(arena *memory, const table *t, int k) {
  const char *name = plain_check_name(memory, t, k);
  int before = 0;
  for (int m = 0; m < k && name; m++) {
    const char *other = plain_check_name(memory, t, m);
    before += other && strcmp(other, name) == 0;
  }
  return before && name ? arena_printf(memory, "%s%d", name, before) : name;
}
