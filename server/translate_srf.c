/* Functions that give rows, in a SELECT list: unnest, generate_series, generate_subscripts.
 *
 *   SELECT a, unnest(x) AS u, generate_subscripts(x, 1) FROM t WHERE ..
 *   SELECT a, pg_srf.pg_value AS u, pg_srf.pg_key + 1 FROM t CROSS JOIN pg_elements(pg_any_array(x)) AS pg_srf WHERE ..
 *
 * Several run in step, as in PostgreSQL; the first decides how many rows there are, so the others must be subscripts or
 * elements of arrays that are as long. Beside GROUP BY they are refused.
 */
#include "server/rewrite.h"

enum { CALLS_MAX = 8 };
typedef struct call {
  int at, close; /* the name, the last token of the call */
  int from;      /* its first token: a schema, or the bracket of (f(x)).field */
  char field;    /* 'x' or 'n' of such a record's; 0: none */
  bool is_alone; /* no alias behind: the function's name is the column's */
} call;

static bool is_expansion(const rewriter *r, int i) { return rewrite_is(r, i, "_pg_expandarray"); }

static bool is_rows_function(const rewriter *r, int i) {
  return (is_expansion(r, i) || rewrite_is(r, i, "unnest") || rewrite_is(r, i, "generate_series") || rewrite_is(r, i, "generate_subscripts")) && rewrite_punct(r, i + 1, '(');
}

static bool ends_list(const rewriter *r, int i) {
  static const char *const words[] = {"from", "where", "group", "having", "window", "order", "limit", "offset", "fetch", "union", "intersect", "except", "for", "into"};
  for (size_t k = 0; k < sizeof words / sizeof *words; k++)
    if (rewrite_is(r, i, words[k])) return true;
  return false;
}

/* The next of the words at depth 0, or the bracket that ends the query. */
static int find(const rewriter *r, int from, int end, bool only_list) {
  int depth = 0;
  for (int i = from; i < end; i++) {
    if (rewrite_punct(r, i, '(')) depth++;
    if (rewrite_punct(r, i, ')') && depth-- == 0) return i;
    if (depth == 0 && ends_list(r, i) && (only_list || !rewrite_is(r, i, "from"))) return i;
  }
  return end;
}

static bool is_schema(const rewriter *r, int i) { return (rewrite_is(r, i, "pg_catalog") || rewrite_is(r, i, "information_schema")) && rewrite_punct(r, i + 1, '.'); }

/* A call at the beginning of an item. */
static bool take_call(const rewriter *r, int i, int to, call *out) {
  bool bracket = rewrite_punct(r, i, '(');
  int name = i + bracket;
  if (is_schema(r, name)) name += 2;
  if (!is_rows_function(r, name) || (bracket && !is_expansion(r, name))) return false;
  int close = rewrite_close(r, name + 1, to);
  *out = (call){.at = name, .close = close, .from = i};
  if (bracket) {
    bool field = rewrite_punct(r, close + 1, ')') && rewrite_punct(r, close + 2, '.') && (rewrite_is(r, close + 3, "n") || rewrite_is(r, close + 3, "x"));
    if (!field) return false;
    out->field = r->t[close + 3].text[0];
    out->close = close + 3;
  }
  out->is_alone = out->close + 1 >= to || rewrite_punct(r, out->close + 1, ',');
  return out->is_alone || r->t[out->close + 1].kind == PT_WORD || r->t[out->close + 1].kind == PT_QUOTED;
}

static int calls_of(const rewriter *r, int from, int to, call *calls) {
  int n = 0, depth = 0;
  bool begins = true;
  for (int i = from; i < to; i++) {
    if (begins && depth == 0 && n < CALLS_MAX && take_call(r, i, to, &calls[n])) n++;
    if (rewrite_punct(r, i, '(')) depth++;
    if (rewrite_punct(r, i, ')')) depth--;
    begins = depth == 0 && rewrite_punct(r, i, ',');
  }
  return n;
}

bool rewrite_has_rows_function(const rewriter *r, int at, int end) {
  call calls[CALLS_MAX];
  return rewrite_is(r, at, "select") && calls_of(r, at + 1, find(r, at + 1, end, true), calls) > 0;
}

/* _pg_expandarray(a) AS k is a record (x, n): two columns "k.x" and "k.n", as (k).x asks for them (translate.c). */
static status put_expansion(rewriter *r, call *c, int end) {
  int alias = rewrite_is(r, c->close + 1, "as") ? c->close + 2 : c->close + 1;
  bool given = alias < end && (r->t[alias].kind == PT_WORD || r->t[alias].kind == PT_QUOTED) && !rewrite_is(r, alias, "from");
  const char *name = given ? r->t[alias].text : "_pg_expandarray", *x = arena_printf(r->memory, "%s.x", name), *n = arena_printf(r->memory, "%s.n", name);
  if (!x || !n) return error_set(r->err, HDB_NOMEM, "out of memory");
  rewrite_put(r, c->at, "pg_srf.pg_value AS ");
  rewrite_name(r, r->n, x);
  buf_text(&r->text, ", pg_srf.pg_key + 1 AS ");
  rewrite_name(r, r->n, n);
  if (given) c->close = alias;
  return HDB_OK;
}

static status put_call(rewriter *r, const call *c, const call *first) {
  if (c == first) {
    rewrite_put(r, c->at, rewrite_is(r, c->at, "generate_subscripts") ? "pg_subscript_at(" : "pg_srf.pg_value");
    if (!rewrite_is(r, c->at, "generate_subscripts")) goto alias;
  } else if (rewrite_is(r, c->at, "generate_subscripts")) {
    rewrite_put(r, c->at, "pg_subscript_at(");
  } else if (rewrite_is(r, c->at, "unnest")) {
    rewrite_put(r, c->at, "json_extract(pg_any_array(");
    TRY(rewrite_range(r, c->at + 2, c->close));
    buf_text(&r->text, "), '$[' || pg_srf.pg_key || ']')");
    goto alias;
  } else {
    return rewrite_unsupported(r, c->at, "generate_series beside another function that gives rows");
  }
  int comma = c->at + 2, depth = 0;
  for (; comma < c->close && !(depth == 0 && rewrite_punct(r, comma, ',')); comma++) depth += rewrite_punct(r, comma, '(') - rewrite_punct(r, comma, ')');
  TRY(rewrite_range(r, c->at + 2, comma));
  buf_text(&r->text, ", pg_srf.pg_key)");
alias:
  if (c->is_alone) {
    buf_text(&r->text, " AS ");
    buf_text(&r->text, r->t[c->at].text);
  }
  return HDB_OK;
}

static status put_source(rewriter *r, const call *c) {
  bool series = rewrite_is(r, c->at, "generate_series");
  int to = rewrite_close(r, c->at + 1, r->n), depth = 0;
  for (int i = c->at + 2; i < to && rewrite_is(r, c->at, "generate_subscripts"); i++) {
    if (depth == 0 && rewrite_punct(r, i, ',')) {
      to = i;
      break;
    }
    depth += rewrite_punct(r, i, '(') - rewrite_punct(r, i, ')');
  }
  buf_text(&r->text, series ? "pg_series(" : "pg_elements(pg_any_array(");
  TRY(rewrite_range(r, c->at + 2, to));
  buf_text(&r->text, series ? ") AS pg_srf " : ")) AS pg_srf ");
  return HDB_OK;
}

status rewrite_rows_function(rewriter *r, int *at, int end) {
  call calls[CALLS_MAX];
  int list = find(r, *at + 1, end, true), n = calls_of(r, *at + 1, list, calls), i = *at + 1;
  rewrite_put(r, *at, "SELECT");
  buf_byte(&r->text, ' ');
  for (int k = 0; k < n; k++) {
    TRY(rewrite_range(r, i, calls[k].from));
    if (calls[k].field) { /* in step with the first: the catalog's queries expand one array */
      rewrite_put(r, calls[k].at, calls[k].field == 'x' ? "pg_srf.pg_value" : "pg_srf.pg_key + 1");
      if (calls[k].is_alone) buf_printf(&r->text, " AS %c", calls[k].field);
      i = calls[k].close + 1;
      continue;
    }
    if (is_expansion(r, calls[k].at)) {
      call one = calls[k];
      TRY(put_expansion(r, &one, list));
      i = one.close + 1;
      continue;
    }
    TRY(put_call(r, &calls[k], &calls[0]));
    i = calls[k].close + 1;
  }
  TRY(rewrite_range(r, i, list));
  bool has_from = rewrite_is(r, list, "from");
  int rest = has_from ? find(r, list + 1, end, false) : list;
  if (has_from) TRY(rewrite_range(r, list, rest));
  if (rewrite_is(r, rest, "group") || rewrite_is(r, rest, "having")) return rewrite_unsupported(r, calls[0].at, "a function that gives rows beside GROUP BY");
  buf_text(&r->text, has_from ? " CROSS JOIN " : " FROM ");
  TRY(put_source(r, &calls[0]));
  *at = rest;
  return HDB_OK;
}

/* ---- in FROM ---- */

static int argument_end(const rewriter *r, int from, int close) {
  int depth = 0;
  for (int i = from; i < close; i++) {
    if (rewrite_punct(r, i, '(') || rewrite_punct(r, i, '[')) depth++;
    if (rewrite_punct(r, i, ')') || rewrite_punct(r, i, ']')) depth--;
    if (depth == 0 && rewrite_punct(r, i, ',')) return i;
  }
  return close;
}

enum { TABLE_COLUMNS_MAX = 200 };
/* The columns of unnest(a, b, ..): the first array says how many rows there are. */
static status unnest_columns(rewriter *r, int open, int close, const char *const *names, int names_n, const char *alias, bool ordinality) {
  int n = 0;
  for (int i = open + 1; i < close; n++) {
    int stop = argument_end(r, i, close);
    if (n) {
      buf_text(&r->text, ", json_extract(pg_any_array(");
      TRY(rewrite_range(r, i, stop));
      buf_text(&r->text, "), '$[' || pg_key || ']')");
    } else {
      buf_text(&r->text, "pg_value");
    }
    buf_text(&r->text, " AS ");
    rewrite_name(r, r->n, n < names_n ? names[n] : n == 0 && stop == close ? alias : "unnest");
    i = stop + 1;
  }
  if (!ordinality) return HDB_OK;
  buf_text(&r->text, ", pg_key + 1 AS ");
  rewrite_name(r, r->n, n < names_n ? names[n] : "ordinality");
  return HDB_OK;
}

/* generate_series(..), unnest(..) in FROM: [WITH ORDINALITY] [AS] alias [(names)]. The columns are named as PostgreSQL
 * names them. */
status rewrite_table_function(rewriter *r, int *at, int end) {
  bool unnest = rewrite_is(r, *at, "unnest");
  int open = *at + 1, close = rewrite_close(r, open, end), i = close + 1, names_n = 0;
  const char *alias = r->t[*at].text, *names[TABLE_COLUMNS_MAX];
  bool ordinality = rewrite_is(r, i, "with") && rewrite_is(r, i + 1, "ordinality");
  if (ordinality && !unnest) return rewrite_unsupported(r, i, "generate_series WITH ORDINALITY");
  if (ordinality) i += 2;
  if (rewrite_is(r, i, "as")) i++;
  if (i < end && rewrite_is_name(r, i)) alias = r->t[i++].text;
  if (rewrite_punct(r, i, '(') && rewrite_is_name(r, i + 1)) {
    int list = rewrite_close(r, i, end);
    for (int k = i + 1; k < list && names_n < TABLE_COLUMNS_MAX; k += 2) names[names_n++] = r->t[k].text;
    i = list + 1;
  }
  bool first = rewrite_is(r, *at - 1, "from"); /* another sees what stands left of it */
  rewrite_put(r, *at, first ? "(SELECT " : "pg_lateral((SELECT ");
  if (unnest) {
    TRY(unnest_columns(r, open, close, names, names_n, alias, ordinality));
    buf_text(&r->text, " FROM pg_elements(pg_any_array(");
    TRY(rewrite_range(r, open + 1, argument_end(r, open + 1, close)));
    buf_text(&r->text, first ? "))) AS " : ")))) AS ");
  } else {
    buf_text(&r->text, "value AS ");
    rewrite_name(r, *at, names_n ? names[0] : alias);
    buf_text(&r->text, " FROM generate_series(");
    TRY(rewrite_range(r, open + 1, close));
    buf_text(&r->text, first ? ")) AS " : "))) AS ");
  }
  rewrite_name(r, *at, alias);
  *at = i;
  return HDB_OK;
}
