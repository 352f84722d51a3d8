/* File names and URIs, as SQLite reads them.
 *
 *   ""                    a private temporary database
 *   ":memory:"            a private one in memory
 *   "file:..." with URIs  file:path, file:///path, file://localhost/path; %HH; ?mode=ro|rw|rwc|memory,
 *                         cache=shared|private, immutable=1, heliosdb_network=1, vfs=unix...|memdb; what follows # is not looked at
 *   anything else         a path
 * A memory database with cache=shared has a name: all who open it get the same one.
 * What can fail: an unknown mode, cache or vfs, an authority, a mode that asks for more than the flags allow.
 */
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "sql/internal.h"

typedef struct uri {
  char *path;
  const char *mode, *cache, *vfs;
  bool immutable, network;
} uri;

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* Decodes up to one of `stops`; returns where it stopped. */
static const char *decode(const char *p, const char *stops, char *out) {
  char *q = out;
  while (*p && *p != '#' && !strchr(stops, *p)) {
    if (*p == '%' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
      char c = (char)(hex_digit(p[1]) * 16 + hex_digit(p[2]));
      p += 3;
      if (c == 0) { /* %00: the rest of this part is not looked at */
        while (*p && *p != '#' && !strchr(stops, *p)) p++;
        break;
      }
      *q++ = c;
    } else {
      *q++ = *p++;
    }
  }
  *q = 0;
  return p;
}

static bool truth(const char *text) {
  if (isdigit((unsigned char)text[0])) return atoi(text) != 0;
  return strcasecmp(text, "on") == 0 || strcasecmp(text, "yes") == 0 || strcasecmp(text, "true") == 0;
}

/* memory holds the decoded parts; as long as the text, twice. */
static status uri_split(const char *text, char *memory, uri *u, error *err) {
  const char *p = text + 5;
  if (p[0] == '/' && p[1] == '/') {
    p += 2;
    const char *end = p;
    while (*end && *end != '/') end++;
    if (end != p && (end - p != 9 || memcmp(p, "localhost", 9) != 0))
      return error_set(err, HDB_ERROR, "invalid uri authority: %.*s", (int)(end - p), p);
    p = end;
  }
  u->path = memory;
  p = decode(p, "?", memory);
  memory += strlen(memory) + 1;
  if (*p != '?') return HDB_OK;
  p++;
  while (*p && *p != '#') {
    char *name = memory, *value_text;
    p = decode(p, "=&", name);
    memory += strlen(name) + 1;
    value_text = memory;
    *value_text = 0;
    if (*p == '=') p = decode(p + 1, "&", value_text);
    memory += strlen(value_text) + 1;
    if (*p == '&') p++;
    if (strcmp(name, "mode") == 0) u->mode = value_text;
    else if (strcmp(name, "cache") == 0) u->cache = value_text;
    else if (strcmp(name, "vfs") == 0) u->vfs = value_text;
    else if (strcmp(name, "immutable") == 0) u->immutable = truth(value_text);
    else if (strcmp(name, "heliosdb_network") == 0) u->network = truth(value_text);
  }
  return HDB_OK;
}

static status uri_mode(const char *mode, int *flags, error *err) {
  int wanted, limit = *flags & (HDB_OPEN_READONLY | HDB_OPEN_READWRITE | HDB_OPEN_CREATE | HDB_OPEN_MEMORY);
  if (strcmp(mode, "ro") == 0) wanted = HDB_OPEN_READONLY;
  else if (strcmp(mode, "rw") == 0) wanted = HDB_OPEN_READWRITE;
  else if (strcmp(mode, "rwc") == 0) wanted = HDB_OPEN_READWRITE | HDB_OPEN_CREATE;
  else if (strcmp(mode, "memory") == 0) wanted = HDB_OPEN_MEMORY;
  else return error_set(err, HDB_ERROR, "no such access mode: %s", mode);
  if ((wanted & ~HDB_OPEN_MEMORY) > (limit & ~HDB_OPEN_MEMORY))
    return error_set(err, HDB_PERM, "access mode not allowed: %s", mode);
  if (wanted == HDB_OPEN_MEMORY) *flags |= HDB_OPEN_MEMORY;
  else *flags = (*flags & ~(HDB_OPEN_READONLY | HDB_OPEN_READWRITE | HDB_OPEN_CREATE)) | wanted;
  return HDB_OK;
}

static status uri_apply(const uri *u, int *flags, open_request *out, error *err) {
  if (u->cache) {
    if (strcmp(u->cache, "shared") == 0) *flags = (*flags & ~HDB_OPEN_PRIVATECACHE) | HDB_OPEN_SHAREDCACHE;
    else if (strcmp(u->cache, "private") == 0) *flags = (*flags & ~HDB_OPEN_SHAREDCACHE) | HDB_OPEN_PRIVATECACHE;
    else return error_set(err, HDB_ERROR, "no such cache mode: %s", u->cache);
  }
  if (u->mode) TRY(uri_mode(u->mode, flags, err));
  if (u->vfs && *u->vfs && strcmp(u->vfs, "unix") && strcmp(u->vfs, "unix-excl") && strcmp(u->vfs, "unix-none") &&
      strcmp(u->vfs, "unix-dotfile") && strcmp(u->vfs, "memdb"))
    return error_set(err, HDB_ERROR, "no such vfs: %s", u->vfs);
  if (u->vfs && strcmp(u->vfs, "memdb") == 0) {
    *flags |= HDB_OPEN_MEMORY;
    /* a memdb's name that begins with / is shared */
    if (u->path[0] == '/') *flags |= HDB_OPEN_SHAREDCACHE;
    else *flags &= ~HDB_OPEN_SHAREDCACHE;
  }
  out->immutable = u->immutable;
  out->network = u->network;
  return HDB_OK;
}

status uri_parse(const char *filename, int flags, open_request *out, error *err) {
  *out = (open_request){0};
  char *memory = NULL;
  status rc = HDB_OK;
  const char *path = filename;
  if (strncmp(filename, "file:", 5) == 0) { /* always: Debian's SQLite is built with USE_URI */
    uri u = {0};
    memory = malloc(strlen(filename) * 2 + 16);
    if (!memory) return sql_nomem(err);
    CHECK(uri_split(filename, memory, &u, err));
    CHECK(uri_apply(&u, &flags, out, err));
    path = u.path;
  }
  bool shared = flags & HDB_OPEN_SHAREDCACHE;
  bool memory_name = strcmp(path, ":memory:") == 0;
  if (memory_name || (flags & HDB_OPEN_MEMORY)) {
    out->shared = shared && *path;
    out->memory = !out->shared;
    if (memory_name && path == filename) out->shared = false, out->memory = true;
  } else if (*path == 0) {
    out->memory = true;
  }
  out->read_only = (flags & HDB_OPEN_READONLY) || out->immutable;
  out->create = flags & HDB_OPEN_CREATE;
  out->path = strdup(path);
  if (!out->path) rc = sql_nomem(err);
out:
  free(memory);
  return rc;
}
