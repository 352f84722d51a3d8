/* The parser of the wire protocol's messages, and the passwords' one, on mutated sessions.
 *
 *   fuzz_proto DIRECTORY ITERATIONS [SEED]
 *
 * Every file of the directory is what a client sent. An iteration cuts, swaps, repeats and overwrites pieces of one or two
 * of them, copies the result into memory of exactly its size (so that a sanitizer sees one byte too many read) and parses
 * it as the server does. Checked: a message lies within its input, the parts of a message within the message, walking
 * ends; what the writers write is read back the same.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/auth.h"
#include "server/proto.h"

enum { CORPUS_MAX = 64, INPUT_MAX = 4096, LIMIT = 65536 };

static buf corpus[CORPUS_MAX];
static int corpus_n;
static uint64_t state;

static uint64_t next_random(void) {
  state += 0x9e3779b97f4a7c15u;
  uint64_t z = state;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
static size_t below(size_t n) { return n ? next_random() % n : 0; }

static void die(const char *what, slice input) {
  fprintf(stderr, "fuzz_proto: %s; the input:", what);
  for (size_t i = 0; i < input.n; i++) fprintf(stderr, " %02x", input.p[i]);
  fputc('\n', stderr);
  abort();
}
static void within(slice input, const void *p, size_t n, const char *what) {
  const uint8_t *at = p;
  if (n && (at < input.p || at + n > input.p + input.n)) die(what, input);
}
static void text_within(slice input, const char *text, const char *what) {
  if (*text || (const uint8_t *)text >= input.p) {
    if ((const uint8_t *)text < input.p || (const uint8_t *)text >= input.p + input.n) {
      if (*text) die(what, input);
      return;
    }
    within(input, text, strlen(text) + 1, what);
  }
}

/* ---- parsing ---- */

static uint64_t seen; /* of what was parsed: keeps the compiler from dropping reads */

static void parse_startup(slice input) {
  startup_message m;
  const char *why = NULL, *name, *value;
  enum proto_result got = proto_startup(input, &m, &why);
  if (got == PROTO_BAD && !why) die("no sentence", input);
  if (got != PROTO_OK) return;
  if (m.length > input.n || m.length < 8) die("a first message outside its input", input);
  within(input, m.parameters.p, m.parameters.n, "parameters outside");
  size_t at = 0, turns = 0;
  while (proto_parameter(m.parameters, &at, &name, &value)) {
    text_within(input, name, "a name outside");
    text_within(input, value, "a value outside");
    seen += strlen(name) + strlen(value);
    if (++turns > input.n) die("a walk without end", input);
  }
}

static void parse_bind(slice body) {
  bind_message m;
  if (!proto_bind(body, &m)) return;
  text_within(body, m.portal, "portal outside");
  text_within(body, m.statement, "statement outside");
  within(body, m.parameters.p, m.parameters.n, "parameters outside");
  size_t at = 0;
  bool null;
  for (unsigned i = 0; i < m.parameters_n; i++) {
    slice v = proto_bind_value(&m, &at, &null);
    within(body, v.p, v.n, "a value outside");
    for (size_t k = 0; k < v.n; k++) seen += v.p[k];
    if (proto_format(m.formats, m.formats_n, i) > 1) die("an unknown format let through", body);
  }
  if (at != m.parameters.n) die("values and their length differ", body);
  for (unsigned i = 0; i < m.result_formats_n + 2u; i++)
    if (proto_format(m.result_formats, m.result_formats_n, i) > 1) die("an unknown result format let through", body);
}

static void parse_body(const message *m) {
  parse_message p;
  describe_message d;
  execute_message e;
  body_reader r = body_of(m->body);
  if (proto_parse(m->body, &p)) {
    text_within(m->body, p.sql, "SQL outside");
    within(m->body, p.types, 4 * (size_t)p.types_n, "types outside");
    for (unsigned i = 0; i < p.types_n; i++) seen += parse_type(&p, i);
  }
  parse_bind(m->body);
  if (proto_describe(m->body, &d)) text_within(m->body, d.name, "a name outside");
  if (proto_execute(m->body, &e) && e.rows > INT32_MAX) die("a negative limit", m->body);
  for (size_t turns = 0; !r.bad && r.p < r.end; turns++) {
    size_t kind = below(4);
    if (kind == 0) seen += body_u8(&r);
    else if (kind == 1) seen += body_u16(&r);
    else if (kind == 2) seen += body_u32(&r);
    else seen += strlen(body_text(&r));
  }
  if (r.bad && (body_u8(&r) || body_u32(&r) || *body_text(&r) || body_bytes(&r, 1).n)) die("a bad reader gives values", m->body);
}

static void parse_session(slice input) {
  startup_message start;
  const char *why;
  parse_startup(input);
  size_t at = proto_startup(input, &start, &why) == PROTO_OK ? start.length : 0;
  for (;;) {
    message m;
    slice rest = slice_of(input.p + at, input.n - at);
    enum proto_result got = proto_message(rest, LIMIT, &m, &why);
    if (got != PROTO_OK) break;
    if (m.length > rest.n || m.length != m.body.n + 5) die("a message outside its input", input);
    within(input, m.body.p, m.body.n, "a body outside");
    parse_body(&m);
    at += m.length;
  }
}

/* A hostile client's half of a SCRAM exchange must never succeed. */
static void parse_passwords(slice input, const char *verifier) {
  static const uint8_t mock[32] = {1};
  const char *why;
  buf out = BUF_INIT, found = BUF_INIT;
  size_t half = below(input.n + 1);
  scram *x = scram_new("helios", below(4) ? verifier : NULL, mock);
  if (x && scram_first(x, slice_of(input.p, half), &out, &why) == HDB_OK &&
      scram_final(x, slice_of(input.p + half, input.n - half), &out, &why) == HDB_OK)
    die("a mutated exchange was let in", input);
  scram_free(x);
  char *text = strndup((const char *)input.p, input.n);
  uint8_t salt[4] = {1, 2, 3, 4};
  if (text && auth_file_find(text, "helios", &found) && !found.n) die("an empty verifier", input);
  if (text && auth_password_fits("helios", text, "pw")) die("a mutated verifier fits", input);
  if (text && auth_md5_fits(text, salt, text)) die("a mutated md5 answer fits", input);
  free(text);
  buf_free(&out);
  buf_free(&found);
}

/* ---- writing ---- */

static void random_text(char *out, size_t size) {
  size_t n = below(size);
  for (size_t i = 0; i < n; i++) out[i] = (char)(1 + below(255));
  out[n] = 0;
}

static void write_and_read(void) {
  char text[64], other[64];
  buf out = BUF_INIT;
  random_text(text, sizeof text);
  random_text(other, sizeof other);
  error_fields f = {.severity = "ERROR", .sqlstate = "XX000", .message = text, .detail = other, .hint = below(2) ? other : NULL, .schema = text,
                    .table = below(2) ? text : NULL, .column = other, .constraint = text, .position = (int)below(100), .code = below(2) ? "1" : NULL};
  field_description fields[3] = {{.name = text, .table = 5, .type = 25, .column = 1, .size = -1, .modifier = -1, .format = 0},
                                 {.name = other, .type = 20, .size = 8, .modifier = -1, .format = 1}, {.name = ""}};
  uint32_t types[3] = {20, 25, 0};
  proto_ready(&out, 'I');
  proto_parameter_status(&out, text, other);
  proto_backend_key(&out, 1, 2);
  proto_authentication(&out, 10, slice_str(text));
  proto_negotiate(&out, 0);
  proto_command_complete(&out, text);
  proto_simple(&out, '1');
  proto_error(&out, &f);
  proto_notice(&out, &f);
  proto_row_description(&out, fields, (unsigned)below(4));
  proto_parameter_description(&out, types, (unsigned)below(4));
  proto_copy_response(&out, 'G', (uint8_t)below(2), (unsigned)below(5));
  size_t at = 0;
  int messages = 0;
  const char *why;
  message m;
  while (proto_message(slice_of(out.p + at, out.n - at), LIMIT, &m, &why) == PROTO_OK) {
    at += m.length;
    messages++;
  }
  if (at != out.n || messages != 12) die("what was written is not read back", buf_slice(&out));
  buf_free(&out);
}

/* ---- mutation ---- */

static size_t mutate(uint8_t *out) {
  const buf *one = &corpus[below((size_t)corpus_n)], *two = &corpus[below((size_t)corpus_n)];
  size_t n = one->n < INPUT_MAX ? one->n : INPUT_MAX;
  memcpy(out, one->p, n);
  for (size_t turns = below(6); turns; turns--) {
    size_t at = below(n + 1), some = below(n - at + 1);
    switch (below(7)) {
    case 0:
      if (at < n) out[at] = (uint8_t)next_random();
      break;
    case 1:
      if (at < n) out[at] ^= (uint8_t)(1u << below(8));
      break;
    case 2: /* cut out */
      memmove(out + at, out + at + some, n - at - some);
      n -= some;
      break;
    case 3: n = at; break; /* cut off */
    case 4: { /* from another */
      size_t from = below(two->n + 1), length = below(two->n - from + 1);
      if (n + length > INPUT_MAX) break;
      memmove(out + at + length, out + at, n - at);
      memcpy(out + at, two->p + from, length);
      n += length;
      break;
    }
    case 5: { /* a length that matters */
      static const uint32_t lengths[] = {0, 1, 3, 4, 5, 7, 8, 255, 65535, 65536, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
      if (at + 4 <= n) put_be32(out + at, lengths[below(sizeof lengths / sizeof *lengths)]);
      break;
    }
    default: /* repeat */
      if (n + some > INPUT_MAX) break;
      memmove(out + at + some, out + at, n - at);
      n += some;
    }
  }
  return n;
}

static bool load(const char *directory) {
  char path[4200];
  DIR *d = opendir(directory);
  for (struct dirent *e; d && (e = readdir(d)) != NULL && corpus_n < CORPUS_MAX;) {
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
    FILE *f = fopen(path, "rb");
    uint8_t *p = f ? buf_reserve(&corpus[corpus_n], INPUT_MAX) : NULL;
    if (p) corpus[corpus_n].n = fread(p, 1, INPUT_MAX, f);
    if (f) fclose(f);
    if (corpus[corpus_n].n) corpus_n++;
  }
  if (d) closedir(d);
  return corpus_n > 0;
}

int main(int argc, char **argv) {
  if (argc < 3 || !load(argv[1])) {
    fprintf(stderr, "usage: fuzz_proto DIRECTORY ITERATIONS [SEED]\n");
    return 2;
  }
  long iterations = atol(argv[2]);
  uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
  buf verifier = BUF_INIT;
  uint8_t input[INPUT_MAX];
  if (auth_make_scram("pw", &verifier) != HDB_OK || !buf_cstr(&verifier)) return 1;
  for (int i = 0; i < corpus_n; i++) parse_session(buf_slice(&corpus[i]));
  for (long i = 0; i < iterations; i++) {
    state = seed * 1000003u + (uint64_t)i;
    size_t n = mutate(input);
    uint8_t *exact = malloc(n ? n : 1);
    if (!exact) return 1;
    memcpy(exact, input, n);
    parse_session(slice_of(exact, n));
    if (i % 256 == 0) parse_passwords(slice_of(exact, n), buf_cstr(&verifier));
    if (i % 64 == 0) write_and_read();
    free(exact);
  }
  printf("fuzz_proto: %ld inputs from %d files, seed %" PRIu64 " (%" PRIx64 ")\n", iterations, corpus_n, seed, seen);
  buf_free(&verifier);
  for (int i = 0; i < corpus_n; i++) buf_free(&corpus[i]);
  return 0;
}
