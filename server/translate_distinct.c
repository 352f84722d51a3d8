/* SELECT DISTINCT ON (keys) items FROM .. ORDER BY terms: the first row of each group of equal keys, in the terms' order.
 *
 *   SELECT * FROM (SELECT items, row_number() OVER (PARTITION BY keys ORDER BY terms) AS pg_distinct_0, term AS
 *   pg_distinct_1, .. FROM ..) WHERE pg_distinct_0 = 1 ORDER BY pg_distinct_1, ..
 *
 * The columns added at the end are hidden from the client when the statement is the query itself (translation.hidden);
 * inside of another query the outer list names the items, which then must have names.
 */
#include <stdio.h>

#include "server/rewrite.h"

enum { ITEMS_MAX = 200 };
typedef struct item {
  int from, to;       /* its expression */
  int whole_to;       /* with its alias */
  const char *label;  /* NULL: has none */
} item;

typedef struct parts {
  int keys_from, keys_to, items_from, items_to, from, order, limit, end;
  item items[ITEMS_MAX];
  int items_n;
} parts;

static int cut(const rewriter *r, int from, int to) { /* the next comma outside of brackets */
  int depth = 0;
  for (int i = from; i < to; i++) {
    if (rewrite_punct(r, i, '(') || rewrite_punct(r, i, '[')) depth++;
    if (rewrite_punct(r, i, ')') || rewrite_punct(r, i, ']')) depth--;
    if (depth == 0 && rewrite_punct(r, i, ',')) return i;
  }
  return to;
}

static bool is_name(const pg_token *t) { return t->kind == PT_WORD || t->kind == PT_QUOTED; }

static status take_items(rewriter *r, parts *p) {
  for (int i = p->items_from; i < p->items_to; i++) {
    int stop = cut(r, i, p->items_to);
    if (p->items_n == ITEMS_MAX) return rewrite_unsupported(r, i, "DISTINCT ON with so many columns");
    item *x = &p->items[p->items_n++];
    *x = (item){i, stop, stop, NULL};
    const pg_token *last = &r->t[stop - 1];
    bool as = stop - i > 2 && rewrite_is(r, stop - 2, "as");
    bool plain = stop - i == 1 || (stop - i == 3 && rewrite_punct(r, stop - 2, '.'));
    if (is_name(last) && (as || plain)) x->label = last->text;
    if (as) x->to = stop - 2;
    i = stop;
  }
  return HDB_OK;
}

/* Where the clauses begin. */
static status find_parts(rewriter *r, int at, int end, parts *p) {
  *p = (parts){.keys_from = at + 4, .from = end, .order = end, .limit = end, .end = end};
  if (!rewrite_punct(r, at + 3, '(')) return rewrite_syntax_error(r, at + 3);
  p->keys_to = rewrite_close(r, at + 3, end);
  p->items_from = p->keys_to + 1;
  int depth = 0;
  for (int i = p->items_from; i < end; i++) {
    if (rewrite_punct(r, i, '(')) depth++;
    if (rewrite_punct(r, i, ')') && depth-- == 0) {
      p->end = i;
      break;
    }
    if (depth) continue;
    if (rewrite_is(r, i, "union") || rewrite_is(r, i, "intersect") || rewrite_is(r, i, "except")) return rewrite_unsupported(r, i, "DISTINCT ON beside UNION, INTERSECT, EXCEPT");
    if (p->from == end && rewrite_is(r, i, "from")) p->from = i;
    if (p->order == end && rewrite_is(r, i, "order") && rewrite_is(r, i + 1, "by")) p->order = i;
    if (p->limit == end && (rewrite_is(r, i, "limit") || rewrite_is(r, i, "offset") || rewrite_is(r, i, "fetch") || (rewrite_is(r, i, "for") && i > p->from))) p->limit = i;
  }
  if (p->limit > p->end) p->limit = p->end;
  if (p->order > p->limit) p->order = p->limit;
  if (p->from > p->order) p->from = p->order;
  p->items_to = p->from;
  return take_items(r, p);
}

/* A key or term: a number or a label stands for its item. */
static status put_term(rewriter *r, const parts *p, int from, int to) {
  const item *x = NULL;
  if (to - from == 1 && r->t[from].kind == PT_NUMBER) {
    int k = 0;
    for (const char *c = r->t[from].text; *c >= '0' && *c <= '9' && k < ITEMS_MAX; c++) k = k * 10 + *c - '0';
    if (k < 1 || k > p->items_n) return rewrite_unsupported(r, from, "this position in DISTINCT ON");
    x = &p->items[k - 1];
  }
  for (int i = 0; i < p->items_n && !x && to - from == 1 && is_name(&r->t[from]); i++)
    if (p->items[i].label && strcmp(p->items[i].label, r->t[from].text) == 0) x = &p->items[i];
  return x ? rewrite_range(r, x->from, x->to) : rewrite_range(r, from, to);
}

/* The end of a term without ASC, DESC, NULLS .. */
static int term_end(const rewriter *r, int from, int to) {
  int end = to;
  if (end - from > 2 && rewrite_is(r, end - 2, "nulls")) end -= 2;
  if (end - from > 1 && (rewrite_is(r, end - 1, "asc") || rewrite_is(r, end - 1, "desc"))) end--;
  return end;
}

static status put_order(rewriter *r, const parts *p, bool helpers) {
  int n = 0;
  for (int i = p->order + 2; i < p->limit; i++) {
    int stop = cut(r, i, p->limit), end = term_end(r, i, stop);
    buf_text(&r->text, n++ ? ", " : " ORDER BY ");
    if (helpers) buf_printf(&r->text, "pg_distinct_%d", n);
    else TRY(put_term(r, p, i, end));
    for (int k = end; k < stop; k++) rewrite_token(r, k);
    i = stop;
  }
  return HDB_OK;
}

static status put_inner(rewriter *r, const parts *p, int *helpers) {
  buf_text(&r->text, "(SELECT ");
  TRY(rewrite_range(r, p->items_from, p->items_to));
  buf_text(&r->text, ", row_number() OVER (PARTITION BY ");
  for (int i = p->keys_from; i < p->keys_to; i++) {
    int stop = cut(r, i, p->keys_to);
    if (i > p->keys_from) buf_text(&r->text, ", ");
    TRY(put_term(r, p, i, stop));
    i = stop;
  }
  TRY(put_order(r, p, false));
  buf_text(&r->text, ") AS pg_distinct_0");
  *helpers = 1;
  for (int i = p->order + 2; i < p->limit; i++) {
    int stop = cut(r, i, p->limit);
    buf_text(&r->text, ", ");
    TRY(put_term(r, p, i, term_end(r, i, stop)));
    buf_printf(&r->text, " AS pg_distinct_%d", (*helpers)++);
    i = stop;
  }
  buf_byte(&r->text, ' ');
  TRY(rewrite_range(r, p->from, p->order));
  buf_byte(&r->text, ')');
  return HDB_OK;
}

status rewrite_distinct_on(rewriter *r, int *at, int end) {
  parts p;
  int helpers;
  bool top = r->is_query && *at == 0;
  TRY(find_parts(r, *at, end, &p));
  rewrite_put(r, *at, "SELECT ");
  for (int i = 0; i < p.items_n && !top; i++) {
    if (!p.items[i].label) return rewrite_unsupported(r, p.items[i].from, "DISTINCT ON inside of another query with columns without a name");
    if (i) buf_text(&r->text, ", ");
    rewrite_name(r, r->n, p.items[i].label);
  }
  buf_text(&r->text, top ? "* FROM " : " FROM ");
  TRY(put_inner(r, &p, &helpers));
  buf_text(&r->text, " WHERE pg_distinct_0 = 1");
  TRY(put_order(r, &p, true));
  buf_byte(&r->text, ' ');
  if (top) r->out->hidden = helpers;
  TRY(rewrite_range(r, p.limit, p.end));
  *at = p.end;
  return HDB_OK;
}
