/* JSON: our own engine around SQLite's JSONB, the binary form in which every operation works.
 *
 *   a node = header, payload. Header byte: low half the kind, high half the payload's size 0..11, or 12, 13, 14, 15:
 *   the size follows in 1, 2, 4, 8 bytes, big-endian.
 *   kind  0 null 1 true 2 false | 3 integer 4 JSON5 integer 5 real 6 JSON5 real: their source text
 *         7 text without escapes 8 text with JSON escapes 9 with JSON5 escapes 10 raw text (to be escaped)
 *         11 array: its nodes | 12 object: label, value, label, value ...
 *
 * J1  A blob from outside is trusted in nothing: every header is checked against its container's end, nesting is at
 *     most JSON_DEPTH_MAX. Damage found on the way is "malformed JSON".
 * J2  Headers that we write are the shortest ones, as SQLite's.
 * J3  Numbers keep their source text.
 */
#ifndef HDB_SQL_JSON_H
#define HDB_SQL_JSON_H

#include "sql/func.h"

enum json_kind {
  JSON_NULL, JSON_TRUE, JSON_FALSE, JSON_INT, JSON_INT5, JSON_FLOAT, JSON_FLOAT5, JSON_TEXT, JSON_TEXTJ, JSON_TEXT5,
  JSON_TEXTRAW, JSON_ARRAY, JSON_OBJECT
};
enum { JSON_DEPTH_MAX = 1000 };

/* ---- json_parse.c ---- */

/* Appends the JSONB of a text. On a syntax error returns false with *error_at, the byte where it is. *json5: something
 * beyond RFC 8259 was used. A NUL must stand behind the text; one inside ends it. Out of memory: out->failed. */
bool json_parse(const char *text, size_t n, buf *out, bool *json5, size_t *error_at);
/* Bytes of JSON5 white space and comments at p (ends at a NUL). */
size_t json_white_space(const char *p);

/* ---- json_blob.c ---- */

typedef struct json_node {
  uint8_t kind;
  size_t at, start, n; /* header's offset; payload's offset and size */
} json_node;
static inline size_t json_node_end(const json_node *n) { return n->start + n->n; }
/* The node at offset `at`, which must end before `end`; false: damaged. */
bool json_node_read(slice blob, size_t at, size_t end, json_node *out);
/* Could the blob be JSONB? (Its outermost header fits.) */
bool json_is_blob(const value *v);
/* 0: valid throughout; else the offset from 1 of the first fault. */
size_t json_blob_check(slice blob);
void json_put_header(buf *out, uint8_t kind, size_t payload_n);
void json_put_node(buf *out, uint8_t kind, const void *p, size_t n);
/* Sets the payload size in the header at `at`, whose payload has already its new length; moves the bytes behind the
 * header when the header's length changes, and returns by how much. */
int json_set_size(buf *blob, size_t at, size_t payload_n);
/* The text of the node at `at`; false: malformed. */
bool json_to_text(slice blob, size_t at, buf *out);
void json_quote(slice text, buf *out);
/* Payload of a text node with its escapes resolved. */
void json_unescape(const uint8_t *p, size_t n, buf *out);
/* Does a label node mean the same text as a key? */
bool json_label_is(slice blob, const json_node *label, slice key, bool key_is_raw);
int64_t json_array_count(slice blob, const json_node *array); /* -1: damaged */

/* Paths. */
enum json_found { JSON_FOUND, JSON_NOT_FOUND, JSON_DAMAGED, JSON_BAD_PATH };
enum json_edit { JSON_LOOK, JSON_DELETE, JSON_REPLACE, JSON_INSERT, JSON_SET };
/* path is behind the '$' (NUL behind it). *at: the node found. */
enum json_found json_lookup(slice blob, const char *path, size_t *at);
/* Changes the document in place; insert is the JSONB to put there. */
enum json_found json_change(buf *blob, const char *path, enum json_edit edit, slice insert);
/* RFC 7396, in place. false: damaged. */
bool json_merge_patch(buf *target, slice patch);

/* ---- func_json.c: arguments and results ---- */

/* A document argument as JSONB: borrowed from a blob or from the thread's last parsed texts (until three others have
 * been read), or in `own`. */
typedef struct json_document {
  slice blob;
  buf own;
  bool json5;
} json_document;
/* "malformed JSON". The argument is not NULL. Free with buf_free(&d->own), also after a failure. */
status json_document_read(function_call *call, const value *v, json_document *d);
/* The SQL value of a node: numbers, texts, JSON text of arrays and objects (or JSONB when `as_blob`). */
status json_node_value(function_call *call, slice blob, size_t at, bool as_blob, value *result);
const char *json_type_name(uint8_t kind);

/* ---- json_walk.c: what json_each and json_tree are made of ---- */

typedef struct json_walk json_walk;
enum json_column { JSON_KEY, JSON_VALUE, JSON_TYPE, JSON_ATOM, JSON_ID, JSON_PARENT, JSON_FULLKEY, JSON_PATH };
/* json not NULL; path NULL or a VAL_TEXT. recursive: json_tree. *out NULL: no rows. Errors: "malformed JSON",
 * "bad JSON path: 'x'". call->memory is not used beyond the call. A walk may be started again with another document:
 * it keeps its buffers. */
json_walk *json_walk_new(void);
status json_walk_restart(function_call *call, json_walk *w, const value *json, const value *path, bool recursive, bool *rows);
status json_walk_open(function_call *call, const value *json, const value *path, bool recursive, json_walk **out);
/* HDB_ROW, HDB_DONE or an error. */
status json_walk_next(json_walk *w);
/* Of the current row; bytes in call->memory or the walk's own until the next row. */
status json_walk_column(function_call *call, json_walk *w, enum json_column column, value *result);
int64_t json_walk_rowid(const json_walk *w);
void json_walk_close(json_walk *w);

#endif
