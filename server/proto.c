/* Messages of the wire protocol (proto.h). Byte layouts are PostgreSQL's documented "Message Formats". */
#include <stdio.h>

#include "server/proto.h"

enum { STARTUP_MAX = 10000, CODE_CANCEL = 80877102, CODE_SSL = 80877103, CODE_GSS = 80877104 };

/* ---- reading ---- */
static bool parameters_are_sound(slice p) {
  size_t at = 0;
  const char *name, *value;
  if (p.n == 0 || p.p[p.n - 1] != 0) return false;
  while (proto_parameter(p, &at, &name, &value)) {}
  return at == p.n;
}

bool proto_parameter(slice p, size_t *at, const char **name, const char **value) {
  if (*at >= p.n) return false;
  const uint8_t *end = memchr(p.p + *at, 0, p.n - *at);
  if (!end) return false;
  *name = (const char *)p.p + *at;
  size_t next = (size_t)(end - p.p) + 1;
  if (**name == 0) { /* the terminator */
    *at = next;
    return false;
  }
  end = next < p.n ? memchr(p.p + next, 0, p.n - next) : NULL;
  if (!end) return false;
  *value = (const char *)p.p + next;
  *at = (size_t)(end - p.p) + 1;
  return true;
}

enum proto_result proto_startup(slice input, startup_message *out, const char **why) {
  if (input.n < 4) return PROTO_MORE;
  uint32_t length = get_be32(input.p);
  *why = "invalid length of startup packet";
  if (length < 8 || length > STARTUP_MAX) return PROTO_BAD;
  if (input.n < length) return PROTO_MORE;
  uint32_t code = get_be32(input.p + 4);
  *out = (startup_message){.length = length};
  if (code == CODE_SSL || code == CODE_GSS) {
    out->kind = code == CODE_SSL ? STARTUP_SSL : STARTUP_GSS;
    return length == 8 ? PROTO_OK : PROTO_BAD;
  }
  if (code == CODE_CANCEL) {
    if (length != 16) return PROTO_BAD;
    out->kind = STARTUP_CANCEL;
    out->process = get_be32(input.p + 8);
    out->secret = get_be32(input.p + 12);
    return PROTO_OK;
  }
  *why = "unsupported frontend protocol";
  if (code >> 16 != 3) return PROTO_BAD;
  out->minor = code & 0xffff;
  out->parameters = slice_of(input.p + 8, length - 8);
  *why = "invalid startup packet layout: expected terminator as last byte";
  return parameters_are_sound(out->parameters) ? PROTO_OK : PROTO_BAD;
}

enum proto_result proto_message(slice input, size_t limit, message *out, const char **why) {
  if (input.n < 5) return PROTO_MORE;
  uint32_t length = get_be32(input.p + 1);
  *why = "invalid message length";
  if (length < 4 || length > limit) return PROTO_BAD;
  if (input.n - 1 < length) return PROTO_MORE;
  *out = (message){input.p[0], slice_of(input.p + 5, length - 4), (size_t)length + 1};
  return PROTO_OK;
}

slice body_bytes(body_reader *r, size_t n) {
  if (r->bad || (size_t)(r->end - r->p) < n) {
    r->bad = true;
    return slice_of(NULL, 0);
  }
  r->p += n;
  return slice_of(r->p - n, n);
}
uint8_t body_u8(body_reader *r) {
  slice s = body_bytes(r, 1);
  return s.n ? s.p[0] : 0;
}
uint16_t body_u16(body_reader *r) {
  slice s = body_bytes(r, 2);
  return s.n ? (uint16_t)(s.p[0] << 8 | s.p[1]) : 0;
}
uint32_t body_u32(body_reader *r) {
  slice s = body_bytes(r, 4);
  return s.n ? get_be32(s.p) : 0;
}
const char *body_text(body_reader *r) {
  const uint8_t *end = r->bad || r->p == r->end ? NULL : memchr(r->p, 0, (size_t)(r->end - r->p));
  if (!end) {
    r->bad = true;
    return "";
  }
  const char *text = (const char *)r->p;
  r->p = end + 1;
  return text;
}

bool proto_parse(slice body, parse_message *out) {
  body_reader r = body_of(body);
  out->statement = body_text(&r);
  out->sql = body_text(&r);
  out->types_n = body_u16(&r);
  out->types = body_bytes(&r, 4 * (size_t)out->types_n).p;
  return body_done(&r);
}

bool proto_bind(slice body, bind_message *out) {
  body_reader r = body_of(body);
  out->portal = body_text(&r);
  out->statement = body_text(&r);
  out->formats_n = body_u16(&r);
  out->formats = body_bytes(&r, 2 * (size_t)out->formats_n).p;
  out->parameters_n = body_u16(&r);
  const uint8_t *start = r.p;
  for (unsigned i = 0; i < out->parameters_n && !r.bad; i++) {
    uint32_t n = body_u32(&r);
    if (n != UINT32_MAX) body_bytes(&r, n);
  }
  if (r.bad) return false;
  out->parameters = slice_of(start, (size_t)(r.p - start));
  out->result_formats_n = body_u16(&r);
  out->result_formats = body_bytes(&r, 2 * (size_t)out->result_formats_n).p;
  if (out->formats_n > 1 && out->formats_n != out->parameters_n) return false;
  for (unsigned i = 0; i < out->formats_n && !r.bad; i++)
    if (proto_format(out->formats, out->formats_n, i) > 1) return false;
  for (unsigned i = 0; i < out->result_formats_n && !r.bad; i++)
    if (proto_format(out->result_formats, out->result_formats_n, i) > 1) return false;
  return body_done(&r);
}

slice proto_bind_value(const bind_message *m, size_t *at, bool *is_null) {
  uint32_t n = get_be32(m->parameters.p + *at);
  *is_null = n == UINT32_MAX;
  slice value = slice_of(m->parameters.p + *at + 4, *is_null ? 0 : n);
  *at += 4 + value.n;
  return value;
}

uint16_t proto_format(const uint8_t *formats, unsigned n, unsigned i) {
  if (n == 0) return 0;
  const uint8_t *p = formats + 2 * (size_t)(n == 1 ? 0 : i);
  return i < n || n == 1 ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

bool proto_describe(slice body, describe_message *out) {
  body_reader r = body_of(body);
  out->kind = body_u8(&r);
  out->name = body_text(&r);
  return body_done(&r) && (out->kind == 'S' || out->kind == 'P');
}

bool proto_execute(slice body, execute_message *out) {
  body_reader r = body_of(body);
  out->portal = body_text(&r);
  out->rows = body_u32(&r);
  if (out->rows > INT32_MAX) out->rows = 0; /* PostgreSQL takes a negative limit as none */
  return body_done(&r);
}

/* ---- writing ---- */
size_t message_begin(buf *out, uint8_t type) {
  buf_byte(out, type);
  size_t start = out->n;
  buf_be32(out, 0);
  return start;
}
void message_end(buf *out, size_t start) {
  if (buf_failed(out)) return;
  put_be32(out->p + start, (uint32_t)(out->n - start));
}
void put_u16(buf *out, uint16_t v) {
  buf_byte(out, (uint8_t)(v >> 8));
  buf_byte(out, (uint8_t)v);
}
void put_text(buf *out, const char *text) { buf_append(out, text, strlen(text) + 1); }

void proto_ready(buf *out, uint8_t transaction_status) {
  size_t m = message_begin(out, 'Z');
  buf_byte(out, transaction_status);
  message_end(out, m);
}
void proto_parameter_status(buf *out, const char *name, const char *value) {
  size_t m = message_begin(out, 'S');
  put_text(out, name);
  put_text(out, value);
  message_end(out, m);
}
void proto_backend_key(buf *out, uint32_t process, uint32_t secret) {
  size_t m = message_begin(out, 'K');
  buf_be32(out, process);
  buf_be32(out, secret);
  message_end(out, m);
}
void proto_authentication(buf *out, uint32_t kind, slice data) {
  size_t m = message_begin(out, 'R');
  buf_be32(out, kind);
  buf_append(out, data.p, data.n);
  message_end(out, m);
}
void proto_negotiate(buf *out, uint32_t minor) {
  size_t m = message_begin(out, 'v');
  buf_be32(out, minor);
  buf_be32(out, 0);
  message_end(out, m);
}
void proto_command_complete(buf *out, const char *tag) {
  size_t m = message_begin(out, 'C');
  put_text(out, tag);
  message_end(out, m);
}
void proto_simple(buf *out, uint8_t type) { message_end(out, message_begin(out, type)); }

static void put_field(buf *out, char code, const char *text) {
  if (!text) return;
  buf_byte(out, (uint8_t)code);
  put_text(out, text);
}
static void put_fields(buf *out, uint8_t type, const error_fields *f) {
  char position[16];
  size_t m = message_begin(out, type);
  put_field(out, 'S', f->severity);
  put_field(out, 'V', f->severity);
  put_field(out, 'C', f->sqlstate);
  put_field(out, 'M', f->message);
  put_field(out, 'D', f->detail);
  put_field(out, 'H', f->hint);
  put_field(out, 'W', f->context);
  put_field(out, 's', f->schema);
  put_field(out, 't', f->table);
  put_field(out, 'c', f->column);
  put_field(out, 'n', f->constraint);
  put_field(out, 'k', f->code);
  put_field(out, 'o', f->offset);
  put_field(out, 'T', f->conflict_table);
  put_field(out, 'K', f->conflict_key);
  if (f->position > 0) {
    snprintf(position, sizeof position, "%d", f->position);
    put_field(out, 'P', position);
  }
  buf_byte(out, 0);
  message_end(out, m);
}
void proto_error(buf *out, const error_fields *f) { put_fields(out, 'E', f); }
void proto_notice(buf *out, const error_fields *f) { put_fields(out, 'N', f); }

void proto_row_description(buf *out, const field_description *fields, unsigned n) {
  size_t m = message_begin(out, 'T');
  put_u16(out, (uint16_t)n);
  for (unsigned i = 0; i < n; i++) {
    put_text(out, fields[i].name);
    buf_be32(out, fields[i].table);
    put_u16(out, fields[i].column);
    buf_be32(out, fields[i].type);
    put_u16(out, (uint16_t)fields[i].size);
    buf_be32(out, (uint32_t)fields[i].modifier);
    put_u16(out, fields[i].format);
  }
  message_end(out, m);
}
void proto_parameter_description(buf *out, const uint32_t *types, unsigned n) {
  size_t m = message_begin(out, 't');
  put_u16(out, (uint16_t)n);
  for (unsigned i = 0; i < n; i++) buf_be32(out, types[i]);
  message_end(out, m);
}
void proto_copy_response(buf *out, uint8_t type, uint8_t format, unsigned columns) {
  size_t m = message_begin(out, type);
  buf_byte(out, format);
  put_u16(out, (uint16_t)columns);
  for (unsigned i = 0; i < columns; i++) put_u16(out, format);
  message_end(out, m);
}
