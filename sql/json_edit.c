/* Paths into JSONB, changes at their ends, and merge patches.
 *
 *   path = '$' { '.' name | '."' name '"' | '[' n ']' | '[#]' | '[#-' n ']' }
 *
 * A path is walked step by step with the offsets of the containers passed; a change splices bytes at its end and
 * then gives each container, innermost first, its new size. Where a path ends in something that is not there yet,
 * set and insert build what is missing: objects for names, arrays for [0] and [#].
 * Cost: a change moves the bytes behind it once.
 */
#include <stdlib.h>

#include "sql/json.h"

typedef struct walk {
  size_t at;      /* the node reached */
  size_t label;   /* its label's offset, 0 when it has none */
  buf parents;    /* size_t each: offsets of the containers passed */
  const char *rest; /* at a missing last step: what of the path stands behind it */
  slice key;      /* ... and its name */
  bool key_is_raw;
  bool missing_key, missing_end; /* ... in an object; behind an array's last element */
} walk;

static bool read_key(const char **path, slice *key, bool *raw) {
  const char *p = *path + 1, *q;
  *raw = true;
  if (*p == '"') {
    q = strchr(++p, '"');
    if (!q) return false;
    *raw = !memchr(p, '\\', (size_t)(q - p));
    *path = q + 1;
  } else {
    q = p + strcspn(p, ".[");
    if (q == p) return false;
    *path = q;
  }
  *key = slice_of(p, (size_t)(q - p));
  return true;
}

/* "[n]", "[#]", "[#-n]"; JSON_NOT_FOUND: before the first. */
static enum json_found read_index(const char **path, slice blob, const json_node *array, uint64_t *index) {
  const char *p = *path + 1;
  uint32_t k = 0;
  if (ascii_digit((unsigned char)*p)) {
    for (; ascii_digit((unsigned char)*p); p++) k = k * 10 + (uint32_t)(*p - '0');
  } else if (*p == '#') {
    int64_t count = json_array_count(blob, array);
    if (count < 0) return JSON_DAMAGED;
    k = (uint32_t)count;
    p++;
    if (*p == '-' && ascii_digit((unsigned char)p[1])) {
      uint32_t back = 0;
      for (p++; ascii_digit((unsigned char)*p); p++) back = back * 10 + (uint32_t)(*p - '0');
      if (back > k) return JSON_NOT_FOUND;
      k -= back;
    }
  } else {
    return JSON_BAD_PATH;
  }
  if (*p != ']') return JSON_BAD_PATH;
  *path = p + 1;
  *index = k;
  return JSON_FOUND;
}

static enum json_found step_key(slice blob, const char **path, walk *w) {
  json_node object, label, v;
  if (!read_key(path, &w->key, &w->key_is_raw)) return JSON_BAD_PATH;
  if (!json_node_read(blob, w->at, blob.n, &object)) return JSON_DAMAGED;
  if (object.kind != JSON_OBJECT) return JSON_NOT_FOUND;
  buf_append(&w->parents, &w->at, sizeof w->at);
  size_t end = json_node_end(&object);
  for (size_t at = object.start; at < end; at = json_node_end(&v)) {
    if (!json_node_read(blob, at, end, &label) || label.kind < JSON_TEXT || label.kind > JSON_TEXTRAW ||
        !json_node_read(blob, json_node_end(&label), end, &v))
      return JSON_DAMAGED;
    if (!json_label_is(blob, &label, w->key, w->key_is_raw)) continue;
    w->label = at;
    w->at = v.at;
    return JSON_FOUND;
  }
  w->missing_key = true;
  w->at = end;
  return JSON_NOT_FOUND;
}

static enum json_found step_index(slice blob, const char **path, walk *w) {
  json_node array, element;
  uint64_t k = 0;
  if (!json_node_read(blob, w->at, blob.n, &array)) return JSON_DAMAGED;
  if (array.kind != JSON_ARRAY) return JSON_NOT_FOUND;
  enum json_found found = read_index(path, blob, &array, &k);
  if (found != JSON_FOUND) return found;
  buf_append(&w->parents, &w->at, sizeof w->at);
  size_t end = json_node_end(&array);
  for (size_t at = array.start; at < end; at = json_node_end(&element), k--) {
    if (!json_node_read(blob, at, end, &element)) return JSON_DAMAGED;
    if (k > 0) continue;
    w->label = 0;
    w->at = at;
    return JSON_FOUND;
  }
  w->missing_end = k == 0;
  w->at = end;
  return JSON_NOT_FOUND;
}

static enum json_found walk_path(slice blob, const char *path, walk *w) {
  while (*path) {
    enum json_found found = *path == '.' ? step_key(blob, &path, w) : *path == '[' ? step_index(blob, &path, w) : JSON_BAD_PATH;
    w->rest = path;
    if (found != JSON_FOUND) return found;
  }
  return JSON_FOUND;
}

enum json_found json_lookup(slice blob, const char *path, size_t *at) {
  walk w = {0};
  enum json_found found = walk_path(blob, path, &w);
  *at = w.at;
  buf_free(&w.parents);
  return found;
}

/* What is missing for the path's tail, innermost the value: appended to out. */
static enum json_found build_tail(const char *tail, slice insert, int depth, buf *out) {
  if (*tail == 0) {
    buf_append(out, insert.p, insert.n);
    return JSON_FOUND;
  }
  if (depth > JSON_DEPTH_MAX) return JSON_DAMAGED;
  bool object = *tail == '.';
  size_t at = out->n;
  enum json_found found;
  json_put_header(out, object ? JSON_OBJECT : JSON_ARRAY, 0);
  if (object) {
    slice key;
    bool raw;
    if (!read_key(&tail, &key, &raw)) return JSON_BAD_PATH;
    json_put_node(out, raw ? JSON_TEXTRAW : JSON_TEXT5, key.p, key.n);
  } else {
    static const uint8_t empty[] = {JSON_ARRAY};
    json_node array = {JSON_ARRAY, 0, 1, 0};
    uint64_t k = 0;
    if (*tail != '[') return JSON_BAD_PATH;
    found = read_index(&tail, slice_of(empty, 1), &array, &k);
    if (found != JSON_FOUND) return found;
    if (k > 0) return JSON_NOT_FOUND;
  }
  found = build_tail(tail, insert, depth + 1, out);
  if (found == JSON_FOUND && !out->failed) json_set_size(out, at, out->n - at - 1);
  return found;
}

/* Replaces [at, at + n) by the bytes, and tells the containers. */
static void splice(buf *blob, size_t at, size_t n, slice with, const walk *w) {
  if (with.n > n && !buf_reserve(blob, with.n - n)) return;
  memmove(blob->p + at + with.n, blob->p + at + n, blob->n - at - n);
  if (with.n) memcpy(blob->p + at, with.p, with.n);
  blob->n = blob->n - n + with.n;
  int64_t change = (int64_t)with.n - (int64_t)n;
  const size_t *parents = (const size_t *)(const void *)w->parents.p;
  for (size_t k = w->parents.n / sizeof *parents; k > 0 && change != 0; k--) {
    /* the old size is still in the header; it is read before the container's end has moved into place */
    json_node container;
    slice head = slice_of(blob->p, SIZE_MAX / 2);
    if (!json_node_read(head, parents[k - 1], head.n, &container)) return;
    change += json_set_size(blob, parents[k - 1], (size_t)((int64_t)container.n + change));
  }
}

static enum json_found change_at(buf *blob, enum json_found found, enum json_edit edit, slice insert, const walk *w) {
  if (found == JSON_FOUND) {
    json_node node;
    if (edit == JSON_INSERT) return JSON_FOUND;
    if (!json_node_read(buf_slice(blob), w->at, blob->n, &node)) return JSON_DAMAGED;
    size_t from = edit == JSON_DELETE && w->label ? w->label : w->at;
    splice(blob, from, json_node_end(&node) - from, edit == JSON_DELETE ? slice_of("", 0) : insert, w);
    return JSON_FOUND;
  }
  if (found != JSON_NOT_FOUND || (edit != JSON_INSERT && edit != JSON_SET) || !(w->missing_key || w->missing_end)) return found;
  buf b = BUF_INIT;
  if (w->missing_key) json_put_node(&b, w->key_is_raw ? JSON_TEXTRAW : JSON_TEXT5, w->key.p, w->key.n);
  found = build_tail(w->rest, insert, 1, &b);
  if (found == JSON_FOUND && !b.failed) splice(blob, w->at, 0, buf_slice(&b), w);
  blob->failed |= b.failed;
  buf_free(&b);
  return found;
}

enum json_found json_change(buf *blob, const char *path, enum json_edit edit, slice insert) {
  walk w = {0};
  enum json_found found = walk_path(buf_slice(blob), path, &w);
  blob->failed |= w.parents.failed;
  if (!blob->failed) found = change_at(blob, found, edit, insert, &w);
  buf_free(&w.parents);
  return found;
}

/* ---- RFC 7396 ---- */

typedef struct member {
  slice label, value; /* whole nodes */
  buf own;            /* holds value when it was merged */
} member;

typedef struct member_list {
  member *items;
  size_t n, capacity;
} member_list;

static bool add_member(member_list *list, slice label, slice v) {
  if (list->n == list->capacity) {
    size_t capacity = list->capacity ? list->capacity * 2 : 16;
    member *items = realloc(list->items, capacity * sizeof *items);
    if (!items) return false;
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->n++] = (member){label, v, BUF_INIT};
  return true;
}

static bool read_members(slice blob, const json_node *object, member_list *list) {
  json_node label, v;
  size_t end = json_node_end(object);
  for (size_t at = object->start; at < end; at = json_node_end(&v)) {
    if (!json_node_read(blob, at, end, &label) || label.kind < JSON_TEXT || label.kind > JSON_TEXTRAW ||
        !json_node_read(blob, json_node_end(&label), end, &v))
      return false;
    if (!add_member(list, slice_of(blob.p + at, json_node_end(&label) - at), slice_of(blob.p + v.at, json_node_end(&v) - v.at)))
      return false;
  }
  return true;
}

static bool same_label(slice a, slice b) {
  json_node x, y;
  if (!json_node_read(a, 0, a.n, &x) || !json_node_read(b, 0, b.n, &y)) return false;
  slice key = slice_of(b.p + y.start, y.n);
  return json_label_is(a, &x, key, y.kind == JSON_TEXT || y.kind == JSON_TEXTRAW);
}

static bool merge(slice target, slice patch, int depth, buf *out);

/* One member of a patch applied to the list. */
static bool apply(member_list *list, const member *p, int depth) {
  size_t i = 0;
  while (i < list->n && !same_label(list->items[i].label, p->label)) i++;
  bool remove = (p->value.p[0] & 0x0f) == JSON_NULL;
  if (remove) {
    if (i == list->n) return true;
    buf_free(&list->items[i].own);
    memmove(list->items + i, list->items + i + 1, (list->n - i - 1) * sizeof *list->items);
    list->n--;
    return true;
  }
  bool fresh = i == list->n;
  if (fresh && !add_member(list, p->label, slice_of(NULL, 0))) return false;
  buf merged = BUF_INIT;
  if (!merge(list->items[i].value, p->value, depth, &merged)) {
    buf_free(&merged);
    return false;
  }
  buf_free(&list->items[i].own);
  list->items[i].own = merged;
  list->items[i].value = buf_slice(&merged);
  return true;
}

/* Appends the merged node; target.p NULL: there is none. */
static bool merge(slice target, slice patch, int depth, buf *out) {
  json_node p, t;
  if (depth > JSON_DEPTH_MAX || !json_node_read(patch, 0, patch.n, &p)) return false;
  if (p.kind != JSON_OBJECT) {
    buf_append(out, patch.p, json_node_end(&p));
    return !out->failed;
  }
  member_list members = {0}, changes = {0};
  bool ok = read_members(patch, &p, &changes);
  if (target.p) {
    ok = ok && json_node_read(target, 0, target.n, &t);
    if (ok && t.kind == JSON_OBJECT) ok = read_members(target, &t, &members);
  }
  for (size_t i = 0; ok && i < changes.n; i++) ok = apply(&members, &changes.items[i], depth + 1);
  size_t n = 0;
  for (size_t i = 0; i < members.n; i++) n += members.items[i].label.n + members.items[i].value.n;
  json_put_header(out, JSON_OBJECT, n);
  for (size_t i = 0; i < members.n; i++) {
    buf_append(out, members.items[i].label.p, members.items[i].label.n);
    buf_append(out, members.items[i].value.p, members.items[i].value.n);
    buf_free(&members.items[i].own);
  }
  free(members.items);
  free(changes.items);
  return ok && !out->failed;
}

bool json_merge_patch(buf *target, slice patch) {
  buf out = BUF_INIT;
  if (!merge(buf_slice(target), patch, 1, &out)) {
    buf_free(&out);
    return false;
  }
  buf_free(target);
  *target = out;
  return true;
}
