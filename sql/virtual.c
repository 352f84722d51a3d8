/* Built-in modules by name, and the tables that are there without being created. Made once a process, never freed
 * (as many as there are names). Names of one process: all connections see the same.
 */
#include "sql/virtual.h"

#include <pthread.h>
#include <strings.h>

#include "sql/internal.h"
#include "sql/pg_catalog.h"
#include "sql/time.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static arena memory;
static struct made {
  struct made *next;
  table t;
} *all_made;

const virtual_module *virtual_find(const char *name) {
  static const virtual_module *const all[] = {&virtual_series, &virtual_json_each, &virtual_json_tree, &virtual_transactions,
                                              &virtual_vector_indexes, &virtual_vector_stats, &virtual_recall, &virtual_vector_check,
                                              &virtual_branches, &virtual_conflicts, &virtual_diff, &virtual_mirror_log, &virtual_info, &virtual_stats, &virtual_stored};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (strcasecmp(all[i]->name, name) == 0) return all[i];
  return NULL;
}

/* The product's own names for some of them, under which they are tables too. */
static const virtual_module *find_alias(const char *name) {
  if (strcasecmp(name, "pg_database_branches") == 0) return &virtual_branches;
  if (strcasecmp(name, "pg_snapshots") == 0) return &virtual_transactions;
  return NULL;
}

static struct made *make(const char *name, const virtual_module *m, const virtual_column *columns, int n, void *data) {
  struct made *x = arena_zero(&memory, sizeof *x);
  column *list = arena_zero(&memory, (size_t)(n + 1) * sizeof *list);
  if (!x || !list) return NULL;
  x->t.name = arena_strdup(&memory, name);
  x->t.kind = TABLE_VIRTUAL;
  x->t.module = m;
  x->t.virtual_data = data;
  x->t.columns = list;
  x->t.columns_n = x->t.stored_n = n;
  x->t.rowid_column = -1;
  x->t.statistic_rows = -1;
  for (int i = 0; i < n; i++) {
    list[i].name = columns[i].name;
    list[i].type = columns[i].type ? columns[i].type : "";
    list[i].affinity = affinity_of_type(list[i].type);
    list[i].hidden = columns[i].hidden;
    list[i].stored = i;
  }
  x->next = all_made;
  all_made = x;
  return x;
}

/* pragma_x: the pragma's columns, then arg (when it takes one) and schema, hidden. */
static struct made *make_pragma(const char *name) {
  const char *const *names;
  bool takes_argument;
  int n = pragma_columns(name + 7, &names, &takes_argument);
  if (n <= 0) return NULL;
  virtual_column *columns = arena_zero(&memory, (size_t)(n + 2) * sizeof *columns);
  char *own = arena_strdup(&memory, name + 7);
  if (!columns || !own) return NULL;
  for (int i = 0; i < n; i++) columns[i] = (virtual_column){names[i], "", false};
  int all = n;
  if (takes_argument) columns[all++] = (virtual_column){"arg", "", true};
  columns[all++] = (virtual_column){"schema", "", true};
  return make(name, &virtual_pragma, columns, all, own);
}

table *catalog_eponymous(hdb *db, const char *name) {
  const virtual_module *postgres = pg_catalog_find(name);
  if (postgres && db->pragmas.dialect != DIALECT_POSTGRES) return NULL;
  if (!postgres && db->pragmas.dialect == DIALECT_POSTGRES) postgres = pg_serial_find(db, name);
  struct made *found = NULL;
  pthread_mutex_lock(&lock);
  for (struct made *x = all_made; x && !found; x = x->next)
    if (strcasecmp(x->t.name, name) == 0) found = x;
  if (!found) {
    const virtual_module *m = postgres ? postgres : virtual_find(name);
    const virtual_module *alias = m ? NULL : find_alias(name);
    if (alias) found = make(strcasecmp(name, "pg_snapshots") == 0 ? "pg_snapshots" : "pg_database_branches", alias, alias->columns, alias->columns_n, NULL);
    else if (m && m->columns) found = make(*m->name ? m->name : name, m, m->columns, m->columns_n, NULL);
    else if (strncasecmp(name, "pragma_", 7) == 0) found = make_pragma(name);
  }
  pthread_mutex_unlock(&lock);
  return found ? &found->t : NULL;
}
