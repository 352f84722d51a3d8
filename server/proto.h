/* proto: the PostgreSQL wire protocol 3.0, bytes to messages and back. Pure: no socket, no session, no SQL.
 *
 * P1  The reader never looks beyond what it was given: it says how many bytes a message has, or that more are needed.
 * P2  A length is checked before anything is kept: a first message over 10,000 bytes, a later one over the limit, or
 *     under 4 is PROTO_BAD with a sentence, and the connection must end.
 * P3  A parsed message borrows the input; strings in it are NUL-terminated there.
 * P4  The writer appends whole messages; a message that could not be built (out of memory) marks the buffer failed.
 */
#ifndef HDB_SERVER_PROTO_H
#define HDB_SERVER_PROTO_H

#include "kv/base/bytes.h"
#include "kv/base/status.h"

enum proto_result { PROTO_OK, PROTO_MORE, PROTO_BAD };

/* ---- the first message of a connection: without a type byte ---- */
enum startup_kind { STARTUP_NORMAL, STARTUP_SSL, STARTUP_GSS, STARTUP_CANCEL };
typedef struct startup_message {
  enum startup_kind kind;
  uint32_t minor;             /* of 3.minor; above 0 the server answers NegotiateProtocolVersion */
  uint32_t process, secret;   /* STARTUP_CANCEL */
  slice parameters;           /* name NUL value NUL ... ; proto_parameter walks it */
  size_t length;              /* bytes of the message */
} startup_message;
enum proto_result proto_startup(slice input, startup_message *out, const char **why);
/* The next pair at *at (0 at first); false: no more. */
bool proto_parameter(slice parameters, size_t *at, const char **name, const char **value);

/* ---- later messages ---- */
typedef struct message {
  uint8_t type;
  slice body;
  size_t length; /* with type and length word */
} message;
enum proto_result proto_message(slice input, size_t limit, message *out, const char **why);

/* A reader of a body; after any failure `bad` stays set and every value is zero. */
typedef struct body_reader {
  const uint8_t *p, *end;
  bool bad;
} body_reader;
static inline body_reader body_of(slice body) {
  body_reader r = {body.p, body.p + body.n, false};
  return r;
}
uint8_t body_u8(body_reader *r);
uint16_t body_u16(body_reader *r);
uint32_t body_u32(body_reader *r);
const char *body_text(body_reader *r);          /* "" when bad */
slice body_bytes(body_reader *r, size_t n);
static inline bool body_done(const body_reader *r) { return !r->bad && r->p == r->end; }

/* The extended protocol's messages. false: malformed ("invalid message format", 08P01). Arrays borrow the body. */
typedef struct parse_message {
  const char *statement, *sql;
  uint16_t types_n;
  const uint8_t *types; /* types_n big-endian oids */
} parse_message;
bool proto_parse(slice body, parse_message *out);
static inline uint32_t parse_type(const parse_message *m, unsigned i) { return get_be32(m->types + 4 * (size_t)i); }

typedef struct bind_message {
  const char *portal, *statement;
  uint16_t formats_n, parameters_n, result_formats_n;
  const uint8_t *formats, *result_formats; /* big-endian int16 each */
  slice parameters;                        /* int32 length, bytes ... ; proto_bind_value walks it */
} bind_message;
bool proto_bind(slice body, bind_message *out);
/* The next parameter; *is_null for length -1. The body was checked by proto_bind. */
slice proto_bind_value(const bind_message *m, size_t *at, bool *is_null);
/* 0 text, 1 binary: by the rule of none, one or all formats given. */
uint16_t proto_format(const uint8_t *formats, unsigned n, unsigned i);

typedef struct describe_message { /* Describe and Close */
  uint8_t kind; /* 'S' or 'P' */
  const char *name;
} describe_message;
bool proto_describe(slice body, describe_message *out);
typedef struct execute_message {
  const char *portal;
  uint32_t rows; /* 0: all */
} execute_message;
bool proto_execute(slice body, execute_message *out);

/* ---- writing ---- */
/* message_begin appends type and room for the length; message_end fills it in. */
size_t message_begin(buf *out, uint8_t type);
void message_end(buf *out, size_t start);
void put_u16(buf *out, uint16_t v);
void put_text(buf *out, const char *text); /* with its NUL */

void proto_ready(buf *out, uint8_t transaction_status); /* 'I' 'T' 'E' */
void proto_parameter_status(buf *out, const char *name, const char *value);
void proto_backend_key(buf *out, uint32_t process, uint32_t secret);
void proto_authentication(buf *out, uint32_t kind, slice data); /* 0 ok, 3 cleartext, 5 md5 (4 bytes salt), 10 11 12 SASL */
void proto_negotiate(buf *out, uint32_t minor);
void proto_command_complete(buf *out, const char *tag);
void proto_simple(buf *out, uint8_t type); /* ParseComplete '1', BindComplete '2', CloseComplete '3', NoData 'n', ... */

typedef struct error_fields {
  const char *severity, *sqlstate, *message;
  const char *detail, *hint, *schema, *table, *column, *constraint, *context; /* NULL: left out */
  int position; /* characters from 1; 0: left out */
  const char *code, *offset, *conflict_table, *conflict_key; /* of the engine itself: fields k, o, T, K (remote.c) */
} error_fields;
void proto_error(buf *out, const error_fields *f);
void proto_notice(buf *out, const error_fields *f);

typedef struct field_description {
  const char *name;
  uint32_t table, type;
  uint16_t column;
  int16_t size;
  int32_t modifier;
  uint16_t format;
} field_description;
void proto_row_description(buf *out, const field_description *fields, unsigned n);
void proto_parameter_description(buf *out, const uint32_t *types, unsigned n);
/* COPY: type 'G' in, 'H' out; format 0 text (csv too), 1 binary */
void proto_copy_response(buf *out, uint8_t type, uint8_t format, unsigned columns);

#endif
