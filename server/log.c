/* The server's log: an event a line on stderr, as text or JSON. Events carry names of users and databases, numbers and
 * SQLSTATEs; never a value, a password or a statement's text. */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "server/internal.h"

static void put_json(buf *out, const char *text) {
  buf_byte(out, '"');
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    if (*p == '"' || *p == '\\') buf_printf(out, "\\%c", *p);
    else if (*p < 32 || *p == 127) buf_printf(out, "\\u%04x", *p);
    else buf_byte(out, *p);
  }
  buf_byte(out, '"');
}

/* Text's own form: quoted where it holds blanks, quotes or what moves a terminal. */
static void put_plain(buf *out, const char *text) {
  for (const unsigned char *p = (const unsigned char *)text; *p; p++)
    if (*p <= ' ' || *p == '"' || *p == '\\' || *p == 127 || *p == '=') {
      put_json(out, text);
      return;
    }
  buf_text(out, *text ? text : "\"\"");
}

static void stamp(char *out, size_t size) {
  struct timespec t;
  struct tm parts;
  clock_gettime(CLOCK_REALTIME, &t);
  gmtime_r(&t.tv_sec, &parts);
  size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(out + n, size - n, ".%03ldZ", t.tv_nsec / 1000000);
}

void server_log(server *s, const char *level, const char *event, ...) {
  if (s->quiet) return;
  char when[40];
  buf line = BUF_INIT;
  va_list arguments;
  stamp(when, sizeof when);
  if (s->log_json) buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", when, level, event);
  else buf_printf(&line, "%s %s %s", when, level, event);
  va_start(arguments, event);
  for (const char *name; (name = va_arg(arguments, const char *)) != NULL;) {
    const char *value = va_arg(arguments, const char *);
    if (!value) continue;
    buf_printf(&line, s->log_json ? ",\"%s\":" : " %s=", name);
    if (s->log_json) put_json(&line, value);
    else put_plain(&line, value);
  }
  va_end(arguments);
  buf_text(&line, s->log_json ? "}\n" : "\n");
  if (!buf_failed(&line)) fwrite(line.p, 1, line.n, stderr);
  buf_free(&line);
}
