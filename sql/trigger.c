/* Triggers: compiled into the statement that fires them, run row by row.
 *
 * A trigger program is its WHEN and its steps, each a program of its own with slots for OLD and NEW; so a step is
 * compiled and run as any statement is. All programs of a statement hang on its dml_root, one for each (trigger, OR
 * clause): a trigger that fires itself finds its own program, and runs in another activation.
 *
 * G1  An activation is the set of execs of one firing; idle ones are kept as long as the statement's exec.
 * G2  Without recursive_triggers a trigger that is running does not fire again; foreign key actions always do.
 * G3  changes() and last_insert_rowid() inside are the trigger's own; both are as before when it has ended.
 * Fails: with a step's failure, EXEC_IGNORE, "too many levels of trigger recursion".
 */
#include "sql/dml.h"

#include <stdlib.h>
#include <strings.h>

typedef struct step {
  program *p;
  int old_slot, new_slot;
  bool is_dml;
} step;

struct trigger_program {
  const trigger *t;     /* NULL: an action or query of ours */
  const void *key;      /* ... the foreign key whose action it is, NULL */
  uint8_t conflict, event;
  int number;
  step when;            /* p NULL: none */
  expr_program *when_test;
  int steps_n;
  step *steps;
  trigger_program *next;
};

typedef struct activation { /* G1 */
  exec when, *steps;
  struct activation *next;
} activation;

struct trigger_frame {
  const trigger *t;
  const exec *root;
  struct trigger_frame *previous;
};

/* ---- compile ---- */
typedef struct step_context {
  compile *parent;
  const table *t;
  int database;         /* where unqualified names are looked up; -1: everywhere */
  uint8_t event, conflict;
  const char *name;
} step_context;

static compile step_begin(const step_context *k, program *p, step *s) {
  compile *parent = k->parent;
  compile c = compile_begin(parent->db, p);
  c.parent = parent;
  c.err = parent->err;
  c.in_trigger = true;
  c.depth = parent->depth + 1;
  c.auth_context = k->name;
  c.trigger_table = k->t;
  c.trigger_event = k->event;
  c.trigger_conflict = k->conflict;
  if (k->database >= 0) c.fixed_schema = parent->db->databases[k->database].name;
  if (k->event != ST_INSERT) c.old_slot = compile_slot(&c, k->t->columns_n);
  if (k->event != ST_DELETE) c.new_slot = compile_slot(&c, k->t->columns_n);
  s->p = p;
  s->old_slot = c.old_slot;
  s->new_slot = c.new_slot;
  return c;
}

static status step_end(const step_context *k, compile *c, status rc) {
  status finish = compile_finish(c);
  k->parent->program->reads |= c->program->reads;
  k->parent->program->writes |= c->program->writes;
  return rc == HDB_OK ? finish : rc;
}

static status compile_step(const step_context *k, const statement *from, step *s) {
  program *p = calloc(1, sizeof *p);
  if (!p) return dml_no_memory(k->parent->err);
  compile c = step_begin(k, p, s);
  statement *tree = ast_copy_statement(c.memory, from);
  status rc = tree ? HDB_OK : dml_no_memory(c.err);
  if (tree) {
    c.tree = p->tree = tree;
    rc = compile_statement(&c, tree);
  }
  s->is_dml = from->kind != ST_SELECT;
  return step_end(k, &c, rc);
}

static status compile_when(const step_context *k, const expr *from, trigger_program *tp) {
  program *p = calloc(1, sizeof *p);
  if (!p) return dml_no_memory(k->parent->err);
  compile c = step_begin(k, p, &tp->when);
  expr *e = ast_copy_expr(c.memory, from);
  status rc = e ? HDB_OK : dml_no_memory(c.err);
  scope s = {.allow = ALLOW_ALL & ~(ALLOW_AGGREGATE | ALLOW_WINDOW), .excluded_slot = -1};
  if (e) CHECK(resolve_expr(&c, &s, &e));
  if (e) CHECK(expr_compile_condition(&c, e, &tp->when_test));
out:
  return step_end(k, &c, rc);
}

static trigger_program *program_new(compile *c, dml_root *root, const trigger *t, int steps_n) {
  trigger_program *tp = calloc(1, sizeof *tp);
  if (tp) tp->steps = calloc((size_t)steps_n, sizeof *tp->steps);
  if (!tp || !tp->steps) {
    free(tp);
    dml_no_memory(c->err);
    return NULL;
  }
  tp->t = t;
  tp->steps_n = steps_n;
  tp->number = root->programs_n++;
  tp->next = root->programs;
  root->programs = tp;
  return tp;
}

static status trigger_compile(compile *c, const trigger *g, const table *t, uint8_t conflict, trigger_program **out) {
  dml_root *root = dml_root_of(c);
  if (!root) return HDB_NOMEM;
  for (*out = root->programs; *out; *out = (*out)->next)
    if ((*out)->t == g && (*out)->conflict == conflict) return HDB_OK;
  trigger_program *tp = program_new(c, root, g, g->tree->steps_n);
  if (!tp) return HDB_NOMEM;
  tp->conflict = conflict;
  step_context k = {c, t, g->database == DB_TEMP ? -1 : g->database, g->tree->event, conflict, g->name};
  if (g->tree->when) TRY(compile_when(&k, g->tree->when, tp));
  for (int i = 0; i < tp->steps_n; i++) TRY(compile_step(&k, g->tree->steps[i], &tp->steps[i]));
  *out = tp;
  return HDB_OK;
}

static bool time_fits(const create_trigger_statement *tree, uint8_t time) {
  return (tree->time ? tree->time : TRIGGER_BEFORE) == time;
}

/* UPDATE OF: one of its columns is set. */
static bool columns_fit(const create_trigger_statement *tree, const table *t, const bool *changed) {
  if (!tree->update_of || !changed) return true;
  for (int i = 0; i < tree->update_of->n; i++) {
    int k = table_column(t, tree->update_of->items[i].name);
    if (k >= 0 && changed[k]) return true;
  }
  return false;
}

static status triggers_of(compile *c, const table *t, int database, const trigger *const **list, int *n) {
  *n = 0;
  if (!c->db->pragmas.enable_triggers) return HDB_OK;
  return catalog_triggers(c->db, t, database, c->memory, (const trigger ***)list, n);
}

status trigger_list_compile(compile *c, const table *t, const table *shape, int database, uint8_t event, uint8_t time,
                            const bool *changed, uint8_t conflict, trigger_list *out) {
  const trigger *const *list;
  int n;
  *out = (trigger_list){0, 0, NULL};
  TRY(triggers_of(c, t, database, &list, &n));
  if (n == 0) return HDB_OK;
  out->programs = arena_alloc(c->memory, (size_t)n * sizeof *out->programs);
  if (!out->programs) return dml_no_memory(c->err);
  for (int i = 0; i < n; i++) {
    const create_trigger_statement *tree = list[i]->tree;
    if (tree->event != event || !time_fits(tree, time) || !columns_fit(tree, shape, changed)) continue;
    TRY(trigger_compile(c, list[i], shape, conflict, &out->programs[out->n]));
    if (list[i]->database == DB_TEMP) {
      compile_reads(c, DB_TEMP);
      out->temp_n++;
    }
    out->n++;
  }
  return HDB_OK;
}

bool trigger_exists(compile *c, const table *t, int database, uint8_t event, uint8_t time) {
  const trigger *const *list;
  int n;
  if (triggers_of(c, t, database, &list, &n) != HDB_OK) return false;
  for (int i = 0; i < n; i++)
    if (list[i]->tree->event == event && time_fits(list[i]->tree, time)) return true;
  return false;
}

status trigger_program_make(compile *c, const table *t, int database, uint8_t event, const void *key, statement *s,
                            trigger_program **out) {
  dml_root *root = dml_root_of(c);
  if (!root) return HDB_NOMEM;
  for (*out = root->programs; key && *out; *out = (*out)->next)
    if ((*out)->key == key && (*out)->event == event) return HDB_OK;
  if (!(*out = program_new(c, root, NULL, 1))) return HDB_NOMEM;
  (*out)->key = key;
  (*out)->event = event;
  step_context k = {c, t, database, event, CONFLICT_ABORT, NULL}; /* whatever the constraints themselves say */
  return compile_step(&k, s, &(*out)->steps[0]);
}

status trigger_query_make(compile *c, const table *t, int database, select *q, trigger_program **out) {
  statement *s = arena_zero(c->memory, sizeof *s);
  if (!s) return dml_no_memory(c->err);
  s->kind = ST_SELECT;
  s->select = q;
  return trigger_program_make(c, t, database, ST_UPDATE, NULL, s, out);
}

void trigger_programs_destroy(dml_root *root) {
  while (root->programs) {
    trigger_program *tp = root->programs;
    root->programs = tp->next;
    program_free(tp->when.p);
    for (int i = 0; i < tp->steps_n; i++) program_free(tp->steps[i].p);
    free(tp->steps);
    free(tp);
  }
}

/* ---- run ---- */
static void activation_free(activation *a, const trigger_program *tp) {
  if (tp->when.p) exec_close(&a->when);
  for (int i = 0; a->steps && i < tp->steps_n; i++) exec_close(&a->steps[i]);
  free(a->steps);
  free(a);
}

static status activation_new(exec *x, const trigger_program *tp, activation **out) {
  activation *a = calloc(1, sizeof *a);
  if (!a) return dml_no_memory(x->err);
  a->steps = calloc((size_t)tp->steps_n, sizeof *a->steps);
  status rc = a->steps ? HDB_OK : dml_no_memory(x->err);
  if (rc == HDB_OK && tp->when.p) rc = exec_open(&a->when, x->db, tp->when.p, x);
  for (int i = 0; i < tp->steps_n && rc == HDB_OK; i++) rc = exec_open(&a->steps[i], x->db, tp->steps[i].p, x);
  if (rc == HDB_OK) *out = a;
  else activation_free(a, tp);
  return rc;
}

static status activation_take(exec *x, const dml_root *root, const trigger_program *tp, activation **out) {
  dml_run *run = dml_run_of(x, root);
  if (!run) return HDB_NOMEM;
  if (!run->idle) {
    run->idle = calloc((size_t)root->programs_n, sizeof *run->idle);
    if (!run->idle) return dml_no_memory(x->err);
  }
  activation *a = run->idle[tp->number];
  if (!a) return activation_new(x, tp, out);
  run->idle[tp->number] = a->next;
  if (tp->when.p) a->when.parent = x, a->when.depth = x->depth + 1;
  for (int i = 0; i < tp->steps_n; i++) a->steps[i].parent = x, a->steps[i].depth = x->depth + 1;
  *out = a;
  return HDB_OK;
}

static void activation_give(exec *x, const dml_root *root, const trigger_program *tp, activation *a) {
  dml_run *run = exec_outermost(x)->states[root->state];
  a->next = run->idle[tp->number];
  run->idle[tp->number] = a;
}

void trigger_run_free(dml_run *run) {
  for (const trigger_program *tp = run->root->programs; tp && run->idle; tp = tp->next)
    while (run->idle[tp->number]) {
      activation *a = run->idle[tp->number];
      run->idle[tp->number] = a->next;
      activation_free(a, tp);
    }
  free(run->idle);
  run->idle = NULL;
}

void trigger_run_forget(dml_run *run, int database) {
  for (const trigger_program *tp = run->root->programs; tp && run->idle; tp = tp->next)
    for (activation *a = run->idle[tp->number]; a; a = a->next) {
      if (tp->when.p) exec_forget_database(&a->when, database);
      for (int i = 0; i < tp->steps_n; i++) exec_forget_database(&a->steps[i], database);
    }
}

/* OLD and NEW as the step sees them: the very rows, decoded into the same arrays. */
static void show_rows(exec *x, const step *s, const slot *old, const slot *new_row) {
  if (s->old_slot >= 0 && old) x->slots[s->old_slot] = *old;
  if (s->new_slot >= 0 && new_row) x->slots[s->new_slot] = *new_row;
}

static status run_step(exec *x, const step *s, const slot *old, const slot *new_row) {
  const program *p = s->p;
  const value *row;
  show_rows(x, s, old, new_row);
  status rc = exec_check(x);
  if (rc == HDB_OK && p->start) rc = p->start(x);
  while (rc == HDB_OK && p->next) {
    rc = p->next(x, &row);
    if (rc == HDB_ROW) rc = exec_tick(x);
  }
  if (rc == HDB_DONE) rc = HDB_OK;
  if (s->is_dml && rc == HDB_OK) {
    x->db->changes = x->changes; /* G3 */
    x->db->total_changes += x->changes; /* at once, and for good: as SQLite counts */
  }
  if (p->stop) p->stop(x);
  exec_rewind(x);
  return rc;
}

static status run_program(exec *x, const trigger_program *tp, activation *a, const slot *old, const slot *new_row) {
  if (tp->when.p) {
    int truth = 0;
    show_rows(&a->when, &tp->when, old, new_row);
    status rc = expr_test(&a->when, tp->when_test, &truth);
    exec_rewind(&a->when);
    if (rc != HDB_OK || truth != 1) return rc;
  }
  for (int i = 0; i < tp->steps_n; i++) TRY(run_step(&a->steps[i], &tp->steps[i], old, new_row));
  return HDB_OK;
}

static bool is_running(exec *x, const trigger *t) { /* G2 */
  const exec *root = exec_outermost(x);
  for (const struct trigger_frame *f = x->db->trigger_frame; f; f = f->previous)
    if (f->root == root && f->t == t) return true;
  return false;
}

status trigger_fire_one(exec *x, const dml_root *root, const trigger_program *tp, slot *old, slot *new_row) {
  hdb *db = x->db;
  if (tp->t && !db->pragmas.recursive_triggers && is_running(x, tp->t)) return HDB_OK;
  if (x->depth >= db->limits[HDB_LIMIT_TRIGGER_DEPTH])
    return error_set(x->err, HDB_ERROR, "too many levels of trigger recursion");
  activation *a;
  TRY(activation_take(x, root, tp, &a));
  struct trigger_frame frame = {tp->t, exec_outermost(x), db->trigger_frame};
  int64_t changes = db->changes, rowid = db->last_insert_rowid;
  db->trigger_frame = &frame;
  status rc = run_program(x, tp, a, old, new_row);
  db->trigger_frame = frame.previous;
  db->changes = changes;
  db->last_insert_rowid = rowid;
  activation_give(x, root, tp, a);
  return rc;
}

status trigger_fire(exec *x, const dml_root *root, const trigger_list *list, slot *old, slot *new_row) {
  for (int i = 0; i < list->n; i++) TRY(trigger_fire_one(x, root, list->programs[i], old, new_row));
  return HDB_OK;
}

/* RETURNING stands behind the TEMP triggers and before the others, as in SQLite. */
status trigger_fire_after(exec *x, const writer *w, slot *old, slot *new_row) {
  if (!w->after.n) return w->returning ? returning_add(x, w->returning) : HDB_OK;
  trigger_list rest = {w->after.n - w->after.temp_n, 0, w->after.programs + w->after.temp_n};
  trigger_list temp = {w->after.temp_n, 0, w->after.programs};
  if (temp.n) TRY(trigger_fire(x, w->root, &temp, old, new_row));
  if (w->returning) TRY(returning_add(x, w->returning));
  return rest.n ? trigger_fire(x, w->root, &rest, old, new_row) : HDB_OK;
}

status trigger_query(exec *x, const dml_root *root, const trigger_program *tp, slot *old, slot *new_row, int64_t *out) {
  activation *a;
  *out = 0;
  TRY(activation_take(x, root, tp, &a));
  exec *step_exec = &a->steps[0];
  const program *p = tp->steps[0].p;
  const value *row;
  show_rows(step_exec, &tp->steps[0], old, new_row);
  status rc = exec_check(step_exec);
  if (rc == HDB_OK) rc = p->start(step_exec);
  if (rc == HDB_OK) rc = p->next(step_exec, &row);
  if (rc == HDB_ROW) *out = value_to_int(&row[0]);
  if (rc == HDB_ROW || rc == HDB_DONE) rc = HDB_OK;
  p->stop(step_exec);
  exec_rewind(step_exec);
  activation_give(x, root, tp, a);
  return rc;
}
