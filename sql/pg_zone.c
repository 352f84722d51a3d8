/* TZif files (RFC 8536) and POSIX rules (pg_zone.h).
 *
 *   TZif   header 44 bytes, counts at 20: isutcnt isstdcnt leapcnt timecnt typecnt charcnt
 *          version 1 block (32-bit times), then header and block again with 64-bit times, then \n rule \n
 *   block  timecnt times, timecnt type numbers, typecnt (offset 4, is_dst 1, name 1), charcnt names, ...
 *   rule   CET-1CEST,M3.5.0,M10.5.0/3: what holds behind the last transition
 *
 * Files are read whole, checked against their counts, and kept. Cost of a look-up: a binary search.
 */
#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sql/pg.h"
#include "sql/pg_zone.h"

enum { FILE_MOST = 200000, NAME_MOST = 64, HEADER = 44, DAY = 86400 };

typedef struct zone_type {
  int offset;
  bool is_dst;
  char name[8];
} zone_type;
typedef struct rule_day { /* M month.week.day, J 1..365 without leap days, or 0..365 */
  char kind;
  int month, week, day, time;
} rule_day;
struct pg_zone {
  const pg_zone *next;
  char name[NAME_MOST];
  int64_t *times;
  uint8_t *which;
  int times_n, types_n;
  zone_type types[256];
  bool has_rule, has_dst;
  zone_type standard, summer;
  rule_day from, to;
};

static const char folder[] = "/usr/share/zoneinfo";
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static const pg_zone *loaded;

/* ---- POSIX rules ---- */

static bool number_at(const char **p, int most, int *out) {
  if (!isdigit((unsigned char)**p)) return false;
  for (*out = 0; isdigit((unsigned char)**p) && *out <= most; (*p)++) *out = *out * 10 + (**p - '0');
  return *out <= most;
}

/* [+-]hh[:mm[:ss]] in seconds */
static bool clock_at(const char **p, int most_hours, int *out) {
  int sign = 1, h, m = 0, s = 0;
  if (**p == '+' || **p == '-') sign = *(*p)++ == '-' ? -1 : 1;
  if (!number_at(p, most_hours, &h)) return false;
  if (**p == ':' && (++*p, !number_at(p, 59, &m))) return false;
  if (**p == ':' && (++*p, !number_at(p, 59, &s))) return false;
  *out = sign * (h * 3600 + m * 60 + s);
  return true;
}

static bool abbreviation_at(const char **p, char out[8]) {
  bool quoted = **p == '<';
  size_t n = 0;
  if (quoted) (*p)++;
  const char *from = *p;
  while (quoted ? **p && **p != '>' : isalpha((unsigned char)**p)) (*p)++, n++;
  if (n > 7) n = 7;
  memcpy(out, from, n);
  out[n] = 0;
  if (quoted && **p != '>') return false;
  if (quoted) (*p)++;
  return n > 0;
}

static bool rule_day_at(const char **p, rule_day *d) {
  *d = (rule_day){.kind = 'n', .time = 7200};
  if (**p == 'M') {
    (*p)++;
    d->kind = 'M';
    if (!number_at(p, 12, &d->month) || *(*p)++ != '.' || !number_at(p, 5, &d->week) || *(*p)++ != '.' || !number_at(p, 6, &d->day) || d->month < 1 || d->week < 1) return false;
  } else {
    if (**p == 'J') d->kind = 'J', (*p)++;
    if (!number_at(p, 365, &d->day)) return false;
  }
  return **p != '/' || (++*p, clock_at(p, 167, &d->time));
}

static bool rule_parse(pg_zone *z, const char *p) {
  int west;
  if (!abbreviation_at(&p, z->standard.name) || !clock_at(&p, 24, &west)) return false;
  z->standard.offset = -west;
  z->has_rule = true;
  if (!*p) return true;
  z->has_dst = z->summer.is_dst = true;
  if (!abbreviation_at(&p, z->summer.name)) return false;
  z->summer.offset = z->standard.offset + 3600;
  if (*p != ',') {
    if (!clock_at(&p, 24, &west)) return false;
    z->summer.offset = -west;
  }
  if (*p != ',') return false;
  p++;
  if (!rule_day_at(&p, &z->from) || *p != ',') return false;
  p++;
  return rule_day_at(&p, &z->to) && !*p;
}

/* The local second of the year's change, as days from 1970 and the rule's time. */
static int64_t rule_moment(const rule_day *d, int year) {
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  int64_t first = pg_days(year, 1, 1), day = first + d->day;
  if (d->kind == 'J') day = first + d->day - 1 + (leap && d->day >= 60);
  if (d->kind == 'M') {
    int64_t month = pg_days(year, d->month, 1), next = d->month == 12 ? pg_days(year + 1, 1, 1) : pg_days(year, d->month + 1, 1);
    int week_day = (int)(((month + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
    day = month + (d->day - week_day + 7) % 7 + (d->week - 1) * 7;
    while (day >= next) day -= 7;
  }
  return day * DAY + d->time;
}

static const zone_type *rule_type(const pg_zone *z, int64_t utc) {
  if (!z->has_dst) return &z->standard;
  int64_t local = utc + z->standard.offset, days = local / DAY - (local % DAY < 0);
  int year, month, day;
  pg_civil(days, &year, &month, &day);
  int64_t from = rule_moment(&z->from, year) - z->standard.offset, to = rule_moment(&z->to, year) - z->summer.offset;
  bool summer = from < to ? utc >= from && utc < to : utc >= from || utc < to;
  return summer ? &z->summer : &z->standard;
}

/* ---- TZif ---- */

static int64_t signed_at(const uint8_t *p, int bytes) {
  return bytes == 8 ? (int64_t)get_be64(p) : (int32_t)get_be32(p);
}

/* One block; *used: its bytes. Only the one that is kept is read into z. */
static bool block(pg_zone *z, const uint8_t *p, size_t n, int width, bool keep, size_t *used) {
  if (n < HEADER || memcmp(p, "TZif", 4) != 0) return false;
  size_t is_utc = get_be32(p + 20), is_standard = get_be32(p + 24), leaps = get_be32(p + 28), times = get_be32(p + 32), types = get_be32(p + 36), chars = get_be32(p + 40);
  if (is_utc > 256 || is_standard > 256 || leaps > 1000 || times > 20000 || types == 0 || types > 256 || chars > 5000) return false;
  size_t w = (size_t)width;
  *used = HEADER + times * (w + 1) + types * 6 + chars + leaps * (w + 4) + is_standard + is_utc;
  if (*used > n) return false;
  if (!keep) return true;
  const uint8_t *at = p + HEADER, *which = at + times * w, *type = which + times;
  const char *names = (const char *)type + types * 6;
  z->times = malloc((times + 1) * sizeof *z->times);
  z->which = malloc(times + 1);
  if (!z->times || !z->which) return false;
  for (size_t i = 0; i < times; i++) {
    z->times[i] = signed_at(at + i * w, width);
    z->which[i] = which[i];
    if (which[i] >= types || (i && z->times[i] <= z->times[i - 1])) return false;
  }
  for (size_t i = 0; i < types; i++) {
    const uint8_t *t = type + i * 6;
    z->types[i] = (zone_type){.offset = (int32_t)get_be32(t), .is_dst = t[4] != 0};
    if (t[5] >= chars || abs(z->types[i].offset) > 2 * DAY) return false;
    snprintf(z->types[i].name, sizeof z->types[i].name, "%.*s", (int)(chars - t[5] > 7 ? 7 : chars - t[5]), names + t[5]);
  }
  z->times_n = (int)times;
  z->types_n = (int)types;
  return true;
}

static bool tzif(pg_zone *z, const uint8_t *p, size_t n) {
  size_t used, more;
  bool two = n > 4 && p[4] >= '2';
  if (!block(z, p, n, 4, !two, &used)) return false;
  if (!two) return true;
  if (!block(z, p + used, n - used, 8, true, &more)) return false;
  const char *rule = (const char *)p + used + more, *end = (const char *)p + n;
  if (rule == end || *rule++ != '\n') return false;
  const char *stop = memchr(rule, '\n', (size_t)(end - rule));
  char text[100];
  if (!stop || (size_t)(stop - rule) >= sizeof text) return false;
  snprintf(text, sizeof text, "%.*s", (int)(stop - rule), rule);
  return !*text || rule_parse(z, text);
}

static bool read_zone(pg_zone *z, const char *path) {
  FILE *f = fopen(path, "re");
  if (!f) return false;
  uint8_t *bytes = malloc(FILE_MOST);
  size_t n = bytes ? fread(bytes, 1, FILE_MOST, f) : 0;
  fclose(f);
  bool good = bytes && n > 0 && n < FILE_MOST && tzif(z, bytes, n);
  free(bytes);
  return good;
}

/* ---- names ---- */

static bool plausible(const char *name) {
  if (!isalpha((unsigned char)*name) || strlen(name) >= NAME_MOST) return false;
  for (const char *p = name; *p; p++)
    if (!isalnum((unsigned char)*p) && !strchr("_+-/", *p)) return false;
  return !strstr(name, "//");
}

/* The file's own spelling of a name, part by part; false: there is none. */
static bool spelled(const char *name, char out[NAME_MOST]) {
  char path[sizeof folder + NAME_MOST + 1];
  size_t n = 0;
  *out = 0;
  while (*name) {
    size_t length = strcspn(name, "/");
    snprintf(path, sizeof path, "%s/%s", folder, out);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
      if (strlen(e->d_name) != length || strncasecmp(e->d_name, name, length) != 0 || n + length + 2 > NAME_MOST) continue;
      n += (size_t)snprintf(out + n, NAME_MOST - n, "%s%s", n ? "/" : "", e->d_name);
      found = true;
    }
    if (d) closedir(d);
    if (!found) return false;
    name += length + (name[length] == '/');
  }
  return n > 0;
}

static void zone_free(pg_zone *z) {
  free(z->times);
  free(z->which);
  free(z);
}

/* "UTC-2", "+02:00", "<+02>-2", "EST5EDT,M3.2.0,M11.1.0" */
static bool posix_zone(pg_zone *z, const char *name) {
  char text[NAME_MOST + 4];
  bool bare = *name == '+' || *name == '-' || isdigit((unsigned char)*name);
  snprintf(text, sizeof text, "%s%s", bare ? "<" : "", bare ? "" : name);
  if (bare) snprintf(text, sizeof text, "<%.30s>%.30s", name, name);
  if (!rule_parse(z, text)) return false;
  if (bare) snprintf(z->standard.name, sizeof z->standard.name, "%.7s", name);
  return true;
}

static const pg_zone *known(const char *name) {
  for (const pg_zone *z = loaded; z; z = z->next)
    if (strcasecmp(z->name, name) == 0) return z;
  return NULL;
}

bool pg_zone_find(const char *name, const pg_zone **out) {
  static const char *const utc[] = {"utc", "uct", "zulu", "default", "local"};
  *out = NULL;
  for (size_t i = 0; i < sizeof utc / sizeof *utc; i++)
    if (strcasecmp(name, utc[i]) == 0) return true;
  if (strlen(name) >= NAME_MOST || !*name) return false;
  pthread_mutex_lock(&mutex);
  *out = known(name);
  pg_zone *z = *out ? NULL : calloc(1, sizeof *z);
  if (z) {
    char path[sizeof folder + NAME_MOST + 1];
    bool file = plausible(name) && spelled(name, z->name);
    snprintf(path, sizeof path, "%s/%s", folder, z->name);
    struct stat st;
    bool good = file && stat(path, &st) == 0 && S_ISREG(st.st_mode) && read_zone(z, path);
    if (!good && !file) {
      snprintf(z->name, sizeof z->name, "%s", name);
      good = posix_zone(z, name);
    }
    const pg_zone *same = good ? known(z->name) : NULL;
    if (good && !same) z->next = loaded, loaded = z;
    else zone_free(z);
    *out = !good ? NULL : same ? same : z;
  }
  pthread_mutex_unlock(&mutex);
  return *out != NULL;
}

const pg_zone *pg_zone_fixed(int seconds_east) {
  if (seconds_east == 0) return NULL;
  char name[NAME_MOST];
  int size = abs(seconds_east), k = snprintf(name, sizeof name, "<%c%02d", seconds_east < 0 ? '-' : '+', size / 3600);
  if (size % 3600) k += snprintf(name + k, sizeof name - (size_t)k, ":%02d", size / 60 % 60);
  k += snprintf(name + k, sizeof name - (size_t)k, ">%c%02d", seconds_east < 0 ? '+' : '-', size / 3600);
  if (size % 3600) snprintf(name + k, sizeof name - (size_t)k, ":%02d", size / 60 % 60);
  const pg_zone *z;
  return pg_zone_find(name, &z) ? z : NULL;
}

bool pg_zone_behind(const char *text, size_t n, const pg_zone **out) {
  static const struct {
    const char *name;
    int minutes;
  } abbreviations[] = {{"z", 0}, {"ut", 0}, {"wet", 0}, {"west", 60}, {"bst", 60}, {"cet", 60}, {"cest", 120}, {"met", 60}, {"eet", 120}, {"eest", 180}, {"msk", 180}, {"sast", 120},
                       {"ist", 120}, {"jst", 540}, {"kst", 540}, {"hkt", 480}, {"est", -300}, {"edt", -240}, {"cst", -360}, {"cdt", -300}, {"mst", -420}, {"mdt", -360}, {"pst", -480},
                       {"pdt", -420}, {"akst", -540}, {"akdt", -480}, {"hst", -600}, {"ast", -240}, {"adt", -180}, {"aest", 600}, {"aedt", 660}, {"acst", 570}, {"awst", 480}, {"nzst", 720}, {"nzdt", 780}};
  char name[NAME_MOST];
  if (n == 0 || n >= sizeof name) return false;
  snprintf(name, sizeof name, "%.*s", (int)n, text);
  for (size_t i = 0; i < sizeof abbreviations / sizeof *abbreviations; i++)
    if (strcasecmp(name, abbreviations[i].name) == 0) return *out = pg_zone_fixed(abbreviations[i].minutes * 60), true;
  return pg_zone_find(name, out);
}

const char *pg_zone_name(const pg_zone *z) { return z ? z->name : "UTC"; }

bool pg_zone_available(void) { return access(folder, R_OK) == 0; }

/* ---- look-ups ---- */

static const zone_type *type_at(const pg_zone *z, int64_t utc) {
  if (z->times_n == 0 || utc < z->times[0]) {
    if (z->times_n == 0 && z->has_rule) return rule_type(z, utc);
    for (int i = 0; i < z->types_n; i++) /* before the first transition: the first that is no summer time */
      if (!z->types[i].is_dst) return &z->types[i];
    return z->types_n ? &z->types[0] : &z->standard;
  }
  int low = 0, high = z->times_n; /* times[low] <= utc */
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (z->times[middle] <= utc) low = middle;
    else high = middle;
  }
  return low == z->times_n - 1 && z->has_rule ? rule_type(z, utc) : &z->types[z->which[low]];
}

int pg_zone_offset(const pg_zone *z, int64_t utc, bool *is_dst, const char **abbreviation) {
  const zone_type *t = z ? type_at(z, utc) : NULL;
  if (is_dst) *is_dst = t && t->is_dst;
  if (abbreviation) *abbreviation = t ? t->name : "UTC";
  return t ? t->offset : 0;
}

int64_t pg_zone_to_utc(const pg_zone *z, int64_t local) {
  if (!z) return local;
  int before = pg_zone_offset(z, local - DAY, NULL, NULL), behind = pg_zone_offset(z, local + DAY, NULL, NULL);
  bool fits_behind = pg_zone_offset(z, local - behind, NULL, NULL) == behind;
  return local - (fits_behind ? behind : before);
}

static void each_in(const char *prefix, void (*visit)(void *, const char *, const pg_zone *), void *context) {
  char path[sizeof folder + NAME_MOST * 2], name[NAME_MOST * 2];
  snprintf(path, sizeof path, "%s/%s", folder, prefix);
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (*e->d_name == '.' || strchr(e->d_name, '.') || strcmp(e->d_name, "posix") == 0 || strcmp(e->d_name, "right") == 0 || strcmp(e->d_name, "localtime") == 0 || strcmp(e->d_name, "posixrules") == 0) continue;
    snprintf(name, sizeof name, "%s%s%.60s", prefix, *prefix ? "/" : "", e->d_name);
    if (strlen(name) >= NAME_MOST) continue;
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    const pg_zone *z;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) each_in(name, visit, context);
    else if (pg_zone_find(name, &z)) visit(context, name, z);
  }
  if (d) closedir(d);
}

void pg_zone_each(void (*visit)(void *context, const char *name, const pg_zone *z), void *context) { each_in("", visit, context); }
