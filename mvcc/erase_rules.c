/* Which keys of a tree belong to rows that are erased: rules, as data, so that a client process can hand them to the owner.
 *
 * The rows' keys are a sorted list. A key of a tree names its row by itself, by its last eight bytes (an index entry of a
 * table of row ids), or by parts of it, put together in the order of the table's own key (kv/base/key.h tells where a
 * part ends).
 */
#include <stdlib.h>

#include "kv/base/key.h"
#include "mvcc/process.h"

typedef struct rule_at_work {
  const slice *keys;
  size_t n;
  const erase_rule *rule;
  buf *scratch;
} rule_at_work;

static int by_bytes(const void *a, const void *b) {
  return slice_compare(*(const slice *)a, *(const slice *)b);
}

static bool has_key(const rule_at_work *w, slice key) {
  return w->n && bsearch(&key, w->keys, w->n, sizeof key, by_bytes) != NULL;
}

/* The row's key out of an entry; false: damaged. */
static bool gather_parts(const rule_at_work *w, slice key) {
  const erase_rule *r = w->rule;
  const uint8_t *end = key.p + key.n;
  buf *out = w->scratch;
  buf_clear(out);
  for (int i = 0; i < r->parts_n; i++) {
    const uint8_t *p = key.p, *next = p;
    for (int j = 0; j <= r->parts[i].at; j++) {
      p = next;
      if (j >= r->columns_n || p >= end || !(next = key_skip(p, end, r->descending[j]))) return false;
    }
    size_t from = out->n;
    buf_append(out, p, (size_t)(next - p));
    for (; r->parts[i].flipped && !buf_failed(out) && from < out->n; from++)
      out->p[from] = (uint8_t)~out->p[from];
  }
  return !buf_failed(out);
}

static bool rule_matches(void *context, slice key) {
  const rule_at_work *w = context;
  switch (w->rule->kind) {
  case ERASE_KEY: return has_key(w, key);
  case ERASE_LAST8: return key.n >= 8 && has_key(w, slice_of(key.p + key.n - 8, 8));
  default: return gather_parts(w, key) && has_key(w, buf_slice(w->scratch));
  }
}

static status erase_here(txn *caller, const slice *keys, size_t n, const erase_rule *rules, size_t rules_n,
                         int timeout_ms, erase_report *report) {
  buf scratch = BUF_INIT;
  rule_at_work *work = calloc(rules_n + 1, sizeof *work);
  erase_tree *trees = calloc(rules_n + 1, sizeof *trees);
  status rc = work && trees ? HDB_OK : HDB_NOMEM;
  for (size_t i = 0; i < rules_n && rc == HDB_OK; i++) {
    work[i] = (rule_at_work){keys, n, &rules[i], &scratch};
    trees[i] = (erase_tree){rules[i].tree, rules[i].rebuild, rule_matches, &work[i]};
  }
  if (rc == HDB_OK) rc = engine_erase(caller, trees, rules_n, timeout_ms, report);
  free(work);
  free(trees);
  buf_free(&scratch);
  return rc;
}

/* ---- between processes ---- */

static void put_rules(buf *b, const slice *keys, size_t n, const erase_rule *rules, size_t rules_n,
                      int timeout_ms) {
  buf_varint(b, timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
  buf_varint(b, n);
  for (size_t i = 0; i < n; i++) put_bytes(b, keys[i]);
  buf_varint(b, rules_n);
  for (size_t i = 0; i < rules_n; i++) {
    const erase_rule *r = &rules[i];
    buf_varint(b, r->tree);
    buf_byte(b, r->rebuild);
    buf_byte(b, (uint8_t)r->kind);
    buf_varint(b, (uint64_t)r->columns_n);
    for (int k = 0; k < r->columns_n; k++) buf_byte(b, r->descending[k]);
    buf_varint(b, (uint64_t)r->parts_n);
    for (int k = 0; k < r->parts_n; k++) buf_varint(b, (uint64_t)r->parts[k].at << 1 | r->parts[k].flipped);
  }
}

static uint64_t read_byte(reader *r) {
  if (r->failed || r->p >= r->end) r->failed = true;
  return r->failed ? 0 : *r->p++;
}

/* A number of things that take at least a byte each. */
static size_t read_count(reader *r) {
  uint64_t n = read_number(r);
  if (!r->failed && n > (uint64_t)(r->end - r->p)) r->failed = true;
  return r->failed ? 0 : (size_t)n;
}

static void read_rule(reader *r, arena *memory, erase_rule *to) {
  uint64_t tree = read_number(r);
  to->tree = (uint32_t)tree;
  to->rebuild = read_byte(r);
  to->kind = (enum erase_kind)read_byte(r);
  to->columns_n = (int)read_count(r);
  bool *descending = arena_alloc(memory, (size_t)to->columns_n + 1);
  for (int k = 0; descending && k < to->columns_n; k++) descending[k] = read_byte(r);
  to->parts_n = (int)read_count(r);
  erase_key_part *parts = arena_alloc(memory, ((size_t)to->parts_n + 1) * sizeof *parts);
  for (int k = 0; parts && k < to->parts_n; k++) {
    uint64_t v = read_number(r);
    if (v >> 1 >= (uint64_t)to->columns_n) r->failed = true;
    parts[k] = (erase_key_part){(int)(v >> 1), v & 1};
  }
  to->descending = descending, to->parts = parts;
  if (tree > UINT32_MAX || to->kind > ERASE_PARTS) r->failed = true;
}

status erase_serve(engine *e, reader *r, buf *reply) {
  arena memory = ARENA_INIT;
  erase_report report = {0};
  txn *t = NULL;
  uint64_t timeout = read_number(r);
  size_t n = read_count(r);
  slice *keys = arena_alloc(&memory, (n + 1) * sizeof *keys);
  for (size_t i = 0; keys && i < n; i++) keys[i] = read_bytes(r);
  size_t rules_n = read_count(r);
  erase_rule *rules = arena_zero(&memory, (rules_n + 1) * sizeof *rules);
  for (size_t i = 0; rules && i < rules_n && !r->failed; i++) read_rule(r, &memory, &rules[i]);
  status rc = memory.failed ? HDB_NOMEM : r->failed || timeout > INT32_MAX ? HDB_PROTOCOL : txn_new(e, &t);
  if (rc == HDB_OK) rc = erase_here(t, keys, n, rules, rules_n, (int)timeout, &report);
  txn_free(t);
  arena_clear(&memory);
  put_signed(reply, report.rows);
  put_signed(reply, report.versions);
  put_signed(reply, report.feed_keys);
  put_signed(reply, report.views);
  return rc;
}

status engine_erase_rows(txn *caller, const slice *keys, size_t n, const erase_rule *rules, size_t rules_n,
                         int timeout_ms, erase_report *report) {
  engine *e = caller->engine;
  memset(report, 0, sizeof *report);
  if (is_remote(e)) {
    buf request = BUF_INIT, reply = BUF_INIT;
    put_rules(&request, keys, n, rules, rules_n, timeout_ms);
    status rc = remote_ask(e, ASK_ERASE, &request, &reply);
    reader r = reader_of(buf_slice(&reply));
    if (rc == HDB_OK) {
      report->rows = read_signed(&r), report->versions = read_signed(&r), report->feed_keys = read_signed(&r);
      report->views = (int)read_signed(&r);
    }
    buf_free(&request);
    buf_free(&reply);
    if (rc != HDB_BUSY_RECOVERY) return rc;
  }
  return erase_here(caller, keys, n, rules, rules_n, timeout_ms, report);
}
