/* May this program read the directory?
 *
 *   meta key    value
 *   format      varint: what lies in the families; 1 when it is missing (pack.c writes 2 with the first block of history)
 *   features    names, separated by commas: what a program must know beyond the format; missing: nothing
 *
 * A format above ours, or a feature that is not in `known`, refuses to open with a sentence, and nothing is written. Whoever
 * adds to what is stored in a way that an older program would misread puts a name in both. (Encryption needs none: who
 * cannot do it cannot open the files.)
 */
#include <stdio.h>

#include "mvcc/internal.h"

static const char *const known[] = {FEATURE_CHAPTERS, FEATURE_REDO, NULL};

static bool is_known(slice name) {
  for (int i = 0; known[i]; i++)
    if (slice_equal(name, slice_str(known[i]))) return true;
  return name.n == 0;
}

static status check_features(engine *e, error *err) {
  kv_value value;
  status rc = kv_get(e->store, NULL, KV_META, slice_str("features"), &value);
  if (rc == HDB_NOTFOUND) return HDB_OK;
  TRY(rc);
  for (size_t at = 0; at <= value.data.n && rc == HDB_OK;) {
    size_t end = at;
    while (end < value.data.n && value.data.p[end] != ',') end++;
    slice name = slice_of(value.data.p + at, end - at);
    if (!is_known(name))
      rc = error_set(err, HDB_CANTOPEN, "the database needs \"%.*s\", which this version does not know", (int)(name.n < 100 ? name.n : 100),
                     (const char *)name.p);
    at = end + 1;
  }
  kv_release(&value);
  return rc;
}

bool format_has(engine *e, const char *feature) {
  kv_value value;
  bool has = false;
  if (kv_get(e->store, NULL, KV_META, slice_str("features"), &value) != HDB_OK) return false;
  for (size_t at = 0, end; at < value.data.n; at = end + 1) {
    for (end = at; end < value.data.n && value.data.p[end] != ',';) end++;
    has = has || slice_equal(slice_of(value.data.p + at, end - at), slice_str(feature));
  }
  kv_release(&value);
  return has;
}

status format_need(engine *e, kv_batch *batch, const char *feature) {
  kv_value value;
  buf names = BUF_INIT;
  if (format_has(e, feature)) return HDB_OK;
  status rc = kv_get(e->store, NULL, KV_META, slice_str("features"), &value);
  if (rc == HDB_OK) {
    buf_append(&names, value.data.p, value.data.n);
    if (value.data.n) buf_byte(&names, ',');
    kv_release(&value);
  }
  buf_text(&names, feature);
  if (buf_failed(&names)) rc = HDB_NOMEM;
  if (rc == HDB_NOTFOUND) rc = HDB_OK;
  if (rc == HDB_OK) kv_batch_put(batch, KV_META, slice_str("features"), buf_slice(&names));
  buf_free(&names);
  return rc;
}

/* From now on the newest commits may be in redo records alone (kv/front.c), which a program that does not know of them must not
 * leave out. */
static status announce(engine *e) {
  if (format_has(e, FEATURE_REDO)) return HDB_OK;
  kv_batch *batch = kv_batch_new(e->store);
  if (!batch) return HDB_NOMEM;
  status rc = format_need(e, batch, FEATURE_REDO);
  if (rc == HDB_OK) rc = kv_place(e->store, batch);
  kv_batch_free(batch);
  return rc;
}

status format_check(engine *e, error *err) {
  TRY(pack_check_format(e, err));
  TRY(check_features(e, err));
  return e->memory || e->read_only ? HDB_OK : announce(e);
}
