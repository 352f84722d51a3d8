/* What is stored, key by key, in words: for people who look into a directory. Decodes every family without a schema:
 * keys and records carry their types.
 *
 * Damaged bytes are shown as what they are: "damaged" and hexadecimal digits. Cost: text for each row; not for programs.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "kv/base/key.h"
#include "mvcc/internal.h"
#include "mvcc/undo.h"

enum { SHOWN_BYTES = 200 };

static const char *const family_names[KV_FAMILIES] = {"meta", "commits", "rows", "index", "versions", "branches", "hnsw"};

struct stored {
  engine *e;
  txn *t; /* for its view */
  kv_iter *it;
  int family, last;
  buf words, key;
};

/* ---- words for values ---- */

static void put_hex(buf *b, slice s) {
  size_t n = s.n < SHOWN_BYTES ? s.n : SHOWN_BYTES;
  buf_text(b, "x'");
  for (size_t i = 0; i < n; i++) buf_printf(b, "%02x", s.p[i]);
  buf_text(b, n < s.n ? "...'" : "'");
}

static void put_text(buf *b, slice s) {
  size_t n = s.n < SHOWN_BYTES ? s.n : SHOWN_BYTES;
  while (n < s.n && n && (s.p[n] & 0xc0) == 0x80) n--; /* not within a character */
  buf_byte(b, '\'');
  for (size_t i = 0; i < n; i++) {
    if (s.p[i] == '\'') buf_byte(b, '\'');
    if (s.p[i] < 0x20) buf_printf(b, "\\x%02x", s.p[i]);
    else buf_byte(b, s.p[i]);
  }
  buf_text(b, n < s.n ? "...'" : "'");
}

static void put_time(buf *b, int64_t time) {
  time_t seconds = time / 1000000;
  struct tm t;
  char text[32];
  if (time > 0 && gmtime_r(&seconds, &t) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t))
    buf_printf(b, "%" PRId64 " (%s.%06dZ)", time, text, (int)(time % 1000000));
  else buf_printf(b, "%" PRId64, time);
}

static void put_payload(buf *b, uint8_t type, slice payload) {
  if (type == REC_NULL) buf_text(b, "NULL");
  else if (record_is_int(type)) buf_printf(b, "%" PRId64, record_get_int(type, payload.p));
  else if (record_is_real(type)) buf_printf(b, "%.17g", record_get_real(type, payload.p));
  else if (record_is_text(type)) put_text(b, record_get_bytes(type, payload.p));
  else if (record_is_blob(type)) put_hex(b, record_get_bytes(type, payload.p));
  else buf_printf(b, "type %d ", type), put_hex(b, payload);
}

static void put_record(buf *b, slice record) {
  if (!record.n) {
    buf_text(b, "()");
    return;
  }
  if (record_check(record) != HDB_OK) {
    buf_text(b, "damaged ");
    put_hex(b, record);
    return;
  }
  uint8_t type;
  slice payload;
  buf_byte(b, '(');
  for (uint32_t k = 0; record_column(record, k, &type, &payload); k++) {
    if (k) buf_text(b, ", ");
    put_payload(b, type, payload);
  }
  buf_byte(b, ')');
}

/* Columns, and what is left: 8 bytes are a row id. */
static void put_key(buf *b, slice key) {
  const uint8_t *p = key.p, *end = key.p + key.n;
  buf scratch = BUF_INIT;
  bool any = false;
  if (!key.n) buf_text(b, "(lowest)");
  while (p < end) {
    key_value v;
    bool inverted = *p >= 0xbf;
    uint8_t first = inverted ? (uint8_t)~*p : *p;
    buf_clear(&scratch);
    const uint8_t *next = NULL;
    if (first == KEY_CLASS_NULL || first == KEY_CLASS_NUMBER || first == KEY_CLASS_TEXT || first == KEY_CLASS_BLOB)
      next = key_get(p, end, inverted, &v, &scratch);
    if (any) buf_text(b, ", ");
    any = true;
    if (!next) {
      if (end - p == 8) buf_printf(b, "rowid %" PRId64, rowid_decode(p));
      else put_hex(b, slice_of(p, (size_t)(end - p)));
      break;
    }
    if (v.klass == KEY_CLASS_NULL) buf_text(b, "NULL");
    else if (v.klass == KEY_CLASS_NUMBER && v.is_int) buf_printf(b, "%" PRId64, v.i);
    else if (v.klass == KEY_CLASS_NUMBER) buf_printf(b, "%.17g", v.r);
    else if (v.klass == KEY_CLASS_TEXT) put_text(b, v.bytes);
    else put_hex(b, v.bytes);
    p = next;
  }
  buf_free(&scratch);
}

/* ---- words for keys of each family ---- */

static void say_group(stored *s, slice key, slice value) {
  buf *b = &s->words;
  group g;
  group_history h;
  if (key.n < 4 || group_open(&g, value) != HDB_OK) {
    buf_text(b, "damaged group");
    return;
  }
  buf_printf(b, "tree %u from ", get_be32(key.p));
  put_key(b, slice_of(key.p + 4, key.n - 4));
  buf_printf(b, ": %u rows, newest ", g.count);
  put_time(b, g.newest);
  if (g.flags & GROUP_HISTORY && group_history_get(&g, &h) == HDB_OK) {
    buf_text(b, ", history up to ");
    put_time(b, h.newest);
    buf_printf(b, " (%zu bytes)", h.weight);
  }
  for (size_t i = 0; i < g.count; i++) {
    slice suffix, row;
    int64_t time;
    bool fresh;
    buf_text(b, "\n    ");
    if (!group_row(&g, i, &suffix, &row)) {
      buf_text(b, "damaged");
      return;
    }
    buf_clear(&s->key);
    buf_append(&s->key, g.prefix, g.prefix_n);
    buf_append(&s->key, suffix.p, suffix.n);
    put_key(b, buf_slice(&s->key));
    buf_text(b, " => ");
    put_record(b, row);
    if (g.flags & GROUP_TIMES && group_time(&g, i, &time, &fresh) == HDB_OK) {
      buf_text(b, fresh ? " made " : " since ");
      put_time(b, time);
    }
  }
}

static status say_version(void *context, slice key, const undo_version *v, bool *skip) {
  stored *s = context;
  buf *b = &s->words;
  const uint8_t *c;
  uint64_t n;
  (void)skip;
  buf_text(b, "\n    ");
  put_key(b, key);
  buf_text(b, " before ");
  put_time(b, v->time);
  buf_text(b, v->fresh ? ", made " : ", since ");
  put_time(b, v->own_time);
  buf_text(b, ": ");
  if (v->kind == VERSION_FULL) {
    put_record(b, v->bytes);
    return HDB_OK;
  }
  TRY(version_columns_begin(v, &c, &n));
  buf_printf(b, "of %" PRIu64 " columns", n);
  while (c < v->bytes.p + v->bytes.n) {
    version_column column;
    TRY(version_columns_next(v, &c, &column));
    buf_printf(b, ", %" PRIu64 " = ", column.at);
    put_payload(b, column.type, column.payload);
  }
  return HDB_OK;
}

bool version_place_get(slice key, uint32_t *tree, buf *bound, int64_t *time) {
  if (key.n < 4 + 9 + 8 || (key.n - 12) % 9) return false;
  *tree = get_be32(key.p);
  const uint8_t *p = key.p + 4, *end = key.p + key.n - 8;
  for (; p < end; p += 9) {
    bool last = p + 9 == end;
    if (p[8] > 9 || last != (p[8] <= 8)) return false;
    buf_append(bound, p, last ? p[8] : 8);
  }
  *time = (int64_t)~get_be64(end);
  return true;
}

static void say_versions(stored *s, slice key, slice value) {
  buf *b = &s->words;
  buf bound = BUF_INIT;
  uint32_t tree;
  int64_t time;
  if (version_place_get(key, &tree, &bound, &time)) {
    buf_printf(b, "tree %u from ", tree);
    put_key(b, buf_slice(&bound));
    buf_text(b, value.n && value.p[0] == 0 ? ": a block, newest " : ": replaced by ");
    put_time(b, time);
    block_head h;
    if (version_block_head(value, time, &h) && h.chapter.p) {
      buf_text(b, ", with a chapter back to ");
      put_time(b, h.covers);
    }
    if (version_each(&s->key, time, value, say_version, s) != HDB_OK) buf_text(b, "\n    damaged");
  } else {
    buf_text(b, "damaged key");
  }
  buf_free(&bound);
}

static status say_change(void *context, uint32_t tree, slice key, bool whole) {
  stored *s = context;
  buf_printf(&s->words, "\n    tree %u: ", tree);
  if (whole) buf_text(&s->words, "all");
  else put_key(&s->words, key);
  return HDB_OK;
}

static void say_commit(stored *s, slice key, slice value) {
  uint64_t branch = 0;
  buf room = BUF_INIT;
  if (key.n < 8) {
    buf_text(&s->words, "damaged key");
    return;
  }
  buf_text(&s->words, "commit ");
  put_time(&s->words, (int64_t)get_be64(key.p));
  if (value.n > 1) (void)varint_get(value.p + 1, value.p + value.n, &branch);
  buf_printf(&s->words, ", branch %" PRIu64, branch);
  if (key.n == 12) buf_printf(&s->words, ", part %u", get_be32(key.p + 8));
  if (feed_read(value, &room, &branch, say_change, s) != HDB_OK) buf_text(&s->words, "\n    damaged");
  buf_free(&room);
}

static bool printable(slice s) {
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i] < 0x20 || s.p[i] > 0x7e) return false;
  return s.n > 0;
}

static void say_meta(stored *s, slice key, slice value) {
  uint64_t number;
  size_t text = 0;
  while (text < key.n && key.p[text] >= 0x20 && key.p[text] <= 0x7e) text++;
  buf_append(&s->words, key.p, text);
  if (text < key.n) put_hex(&s->words, slice_of(key.p + text, key.n - text));
  buf_text(&s->words, " = ");
  if (printable(value) && value.n > 1) put_text(&s->words, value);
  else if (value.n <= 10 && varint_get(value.p, value.p + value.n, &number) == value.p + value.n) buf_printf(&s->words, "%" PRIu64, number);
  else put_hex(&s->words, value);
}

static void say_other(stored *s, slice key, slice value) {
  if (key.n >= 4) buf_printf(&s->words, "tree %u ", get_be32(key.p));
  put_hex(&s->words, key.n >= 4 ? slice_of(key.p + 4, key.n - 4) : key);
  buf_printf(&s->words, ": %zu bytes", value.n);
}

/* ---- the walk ---- */

int engine_family(const char *name) {
  for (int f = 0; f < KV_FAMILIES; f++)
    if (strcmp(family_names[f], name) == 0) return f;
  return -1;
}

status stored_open(engine *e, int family, stored **out) {
  stored *s = calloc(1, sizeof *s);
  if (!s) return HDB_NOMEM;
  leave_before_wait();
  s->e = e;
  s->family = (family < 0 ? 0 : family) - 1; /* the first next opens it */
  s->last = family < 0 ? KV_FAMILIES - 1 : family;
  status rc = txn_new(e, &s->t);
  if (rc == HDB_OK) rc = txn_begin(s->t, TXN_READ, 0);
  *out = rc == HDB_OK ? s : NULL;
  if (rc != HDB_OK) stored_close(s);
  return rc;
}

status stored_next(stored *s, bool *there) {
  static void (*const say[KV_FAMILIES])(stored *, slice, slice) = {say_meta, say_commit, say_group, say_other, say_versions, say_other, say_other};
  *there = false;
  if (s->it && s->it->valid) s->it->next(s->it);
  while (!s->it || !s->it->valid) {
    if (s->it) {
      TRY(s->it->error);
      s->it->close(s->it);
      s->it = NULL;
    }
    if (s->family >= s->last) return HDB_OK;
    s->family++;
    TRY(kv_iter_open(s->t->view->store, s->t->view->snapshot, (enum kv_family)s->family, slice_of(NULL, 0), slice_of(NULL, 0), &s->it));
    s->it->seek(s->it, slice_of(NULL, 0));
  }
  buf_clear(&s->words);
  say[s->family](s, s->it->key, s->it->value);
  *there = true;
  return buf_failed(&s->words) ? HDB_NOMEM : HDB_OK;
}

const char *stored_family(const stored *s) { return family_names[s->family]; }
slice stored_key(const stored *s) { return s->it->key; }
slice stored_value(const stored *s) { return s->it->value; }
slice stored_words(const stored *s) { return buf_slice(&s->words); }

void stored_close(stored *s) {
  if (!s) return;
  if (s->it) s->it->close(s->it);
  txn_free(s->t);
  buf_free(&s->words);
  buf_free(&s->key);
  free(s);
}
