/* client_encoding other than UTF-8: texts are converted at the wire, both ways, by iconv.
 *
 * In: the text of queries, values in text format and of text types, lines of COPY. Out: values in text format, labels,
 * words of errors. What has no equivalent is 22P05 out, 22021 in. ASCII alone is not looked at twice.
 */
#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/session.h"

static const struct {
  const char *name, *iconv; /* PostgreSQL's name */
} encodings[] = {
    {"LATIN1", "ISO-8859-1"}, {"LATIN2", "ISO-8859-2"}, {"LATIN3", "ISO-8859-3"}, {"LATIN4", "ISO-8859-4"}, {"LATIN5", "ISO-8859-9"}, {"LATIN6", "ISO-8859-10"},
    {"LATIN7", "ISO-8859-13"}, {"LATIN8", "ISO-8859-14"}, {"LATIN9", "ISO-8859-15"}, {"LATIN10", "ISO-8859-16"}, {"ISO_8859_5", "ISO-8859-5"}, {"ISO_8859_6", "ISO-8859-6"},
    {"ISO_8859_7", "ISO-8859-7"}, {"ISO_8859_8", "ISO-8859-8"}, {"WIN1250", "CP1250"}, {"WIN1251", "CP1251"}, {"WIN1252", "CP1252"}, {"WIN1253", "CP1253"}, {"WIN1254", "CP1254"},
    {"WIN1255", "CP1255"}, {"WIN1256", "CP1256"}, {"WIN1257", "CP1257"}, {"WIN1258", "CP1258"}, {"WIN866", "CP866"}, {"WIN874", "CP874"}, {"KOI8R", "KOI8-R"}, {"KOI8U", "KOI8-U"},
    {"EUC_JP", "EUC-JP"}, {"EUC_KR", "EUC-KR"}, {"EUC_CN", "GB2312"}, {"GBK", "GBK"}, {"GB18030", "GB18030"}, {"BIG5", "BIG5"}, {"SJIS", "CP932"}, {"UHC", "CP949"}};
enum { ENCODINGS = sizeof encodings / sizeof *encodings };

/* 'iso-8859-1', "latin1", Latin-1 -> the table's; quotes, dashes and case do not count. */
static void plain(const char *text, char *out, size_t size) {
  size_t n = 0;
  for (; *text && n + 1 < size; text++)
    if (*text != '\'' && *text != '"' && *text != '-' && *text != '_' && *text != ' ') out[n++] = (char)(*text >= 'a' && *text <= 'z' ? *text - 32 : *text);
  out[n] = 0;
}

const char *encoding_name(const char *text) {
  char wanted[40], have[40];
  plain(text, wanted, sizeof wanted);
  if (strcmp(wanted, "UTF8") == 0 || strcmp(wanted, "UNICODE") == 0) return "UTF8";
  if (strcmp(wanted, "SQLASCII") == 0) return "SQL_ASCII";
  for (int k = 0; k < ENCODINGS; k++) {
    plain(encodings[k].name, have, sizeof have);
    if (strcmp(have, wanted) == 0) return encodings[k].name;
    plain(encodings[k].iconv, have, sizeof have);
    if (strcmp(have, wanted) == 0) return encodings[k].name;
  }
  return NULL;
}

void encoding_free(session *s) {
  if (!s->encoding) return;
  iconv_close((iconv_t)s->to_utf8);
  iconv_close((iconv_t)s->from_utf8);
  s->encoding = NULL;
}

status encoding_use(session *s, const char *name) {
  const char *other = NULL, *known = NULL;
  encoding_free(s);
  for (int k = 0; k < ENCODINGS; k++)
    if (strcmp(encodings[k].name, name) == 0) other = encodings[k].iconv, known = encodings[k].name;
  if (!other) return HDB_OK;
  iconv_t in = iconv_open("UTF-8", other), out = iconv_open(other, "UTF-8");
  if (in == (iconv_t)-1 || out == (iconv_t)-1) {
    if (in != (iconv_t)-1) iconv_close(in);
    if (out != (iconv_t)-1) iconv_close(out);
    return error_set(&s->err, HDB_ERROR, "not supported yet: client_encoding %s", name);
  }
  s->to_utf8 = in, s->from_utf8 = out;
  s->encoding = known;
  return HDB_OK;
}

static bool is_ascii(const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i] >= 128) return false;
  return true;
}

static bool convert(void *how, slice from, buf *out, size_t *bad) {
  char *in = (char *)from.p;
  size_t left = from.n;
  iconv((iconv_t)how, NULL, NULL, NULL, NULL);
  while (left > 0) {
    size_t room = left * 4 + 16;
    uint8_t *at = buf_reserve(out, room);
    if (!at) return false;
    char *to = (char *)at;
    size_t rc = iconv((iconv_t)how, &in, &left, &to, &room);
    out->n += (size_t)((uint8_t *)to - at);
    if (rc == (size_t)-1 && errno != E2BIG) {
      *bad = from.n - left;
      return false;
    }
  }
  return true;
}

status encoding_in(session *s, slice bytes, arena *memory, slice *out) {
  *out = bytes;
  if (!s->encoding || is_ascii(bytes.p, bytes.n)) return HDB_OK;
  buf b = BUF_INIT;
  size_t bad = 0;
  bool ok = convert(s->to_utf8, bytes, &b, &bad);
  char *copy = ok ? arena_strndup(memory, (const char *)b.p, b.n) : NULL;
  size_t n = b.n;
  buf_free(&b);
  if (!ok) return session_fail(s, "22021", NULL, NULL, "invalid byte sequence for encoding \"%s\": 0x%02x", s->encoding, bad < bytes.n ? bytes.p[bad] : 0);
  if (!copy) return error_set(&s->err, HDB_NOMEM, "out of memory");
  *out = slice_of(copy, n);
  return HDB_OK;
}

status encoding_out(session *s, buf *out, size_t from) {
  if (!s->encoding || out->failed || is_ascii(out->p + from, out->n - from)) return HDB_OK;
  buf b = BUF_INIT;
  size_t bad = 0, n = out->n - from;
  bool ok = convert(s->from_utf8, slice_of(out->p + from, n), &b, &bad);
  if (!ok) {
    char hex[40] = "";
    size_t length = bad < n ? (out->p[from + bad] >= 0xf0 ? 4 : out->p[from + bad] >= 0xe0 ? 3 : 2) : 0;
    for (size_t i = 0, k = 0; i < length && bad + i < n; i++) k += (size_t)snprintf(hex + k, sizeof hex - k, "%s0x%02x", i ? " " : "", out->p[from + bad + i]);
    buf_free(&b);
    return session_fail(s, "22P05", NULL, NULL, "character with byte sequence %s in encoding \"UTF8\" has no equivalent in encoding \"%s\"", hex, s->encoding);
  }
  out->n = from;
  buf_append(out, b.p, b.n);
  buf_free(&b);
  return HDB_OK;
}

const char *encoding_words(session *s, const char *text, buf *keep) {
  if (!s->encoding || !text || is_ascii((const uint8_t *)text, strlen(text))) return text;
  size_t at = keep->n, bad = 0;
  if (!convert(s->from_utf8, slice_str(text), keep, &bad)) { /* an error's words must not fail: what has no equivalent is a ? */
    keep->n = at;
    for (const char *p = text; *p; p++)
      if ((unsigned char)*p < 128) buf_byte(keep, (uint8_t)*p);
      else if (((unsigned char)*p & 0xc0) != 0x80) buf_byte(keep, '?');
  }
  return buf_cstr(keep) ? (const char *)keep->p + at : text;
}
