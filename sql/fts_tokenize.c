/* Tokenizers: unicode61 (Unicode 6.1's letters and digits), ascii, simple, trigram, and Porter's stemmer.
 *
 * T1  A token's bytes are folded (small letters, marks removed); from and to are where it stood in the text.
 * T2  Broken UTF-8 never reads past the end; a broken character is whatever utf8_read makes of it.
 * Cost: one pass; a binary search in the tables for each character beyond ASCII.
 */
#include <stdlib.h>
#include <strings.h>

#include "sql/fts.h"
#include "sql/fts_unicode_tables.h"
#include "sql/utf8.h"

#define COUNT_OF(a) (sizeof(a) / sizeof *(a))

static bool is_ascii_word(uint32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_word(uint32_t c) {
  if (c < 0x80) return is_ascii_word(c);
  size_t low = 0, high = COUNT_OF(word_ranges);
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (word_ranges[middle].last < c) low = middle + 1;
    else high = middle;
  }
  return low < COUNT_OF(word_ranges) && word_ranges[low].first <= c;
}

static uint32_t small_letter(uint32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  size_t low = 0, high = COUNT_OF(small_letters);
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (small_letters[middle].last < c) low = middle + 1;
    else high = middle;
  }
  for (; low < COUNT_OF(small_letters) && small_letters[low].first <= c; low++)
    if (c <= small_letters[low].last && (c - small_letters[low].first) % small_letters[low].step == 0)
      return (uint32_t)((int32_t)c + small_letters[low].delta);
  return c;
}

static uint32_t base_letter(uint32_t c, int diacritics) {
  size_t low = 0, high = COUNT_OF(base_letters);
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (base_letters[middle].letter < c) low = middle + 1;
    else high = middle;
  }
  if (low == COUNT_OF(base_letters) || base_letters[low].letter != c || base_letters[low].twice >= diacritics) return 0;
  return base_letters[low].base;
}

/* Combining marks that belong to the word before them. */
static bool is_mark(uint32_t c) {
  static const uint64_t set = 1ull << 0 | 1ull << 1 | 1ull << 2 | 1ull << 3 | 1ull << 4 | 1ull << 6 | 1ull << 7 | 1ull << 8 | 1ull << 9 |
                              1ull << 10 | 1ull << 11 | 1ull << 12 | 1ull << 15 | 1ull << 17 | 1ull << 27 | 1ull << 35 | 1ull << 36 |
                              1ull << 37 | 1ull << 38 | 1ull << 39 | 1ull << 40 | 1ull << 45 | 1ull << 46 | 1ull << 48 | 1ull << 49;
  return c >= 0x300 && c < 0x340 && (set >> (c - 0x300) & 1);
}

static bool in_list(const uint32_t *list, uint32_t c) {
  for (; list && *list; list++)
    if (*list == c) return true;
  return false;
}

static bool starts_word(const fts_tokenizer *k, uint32_t c) {
  if (k->kind != FTS_UNICODE61) {
    if (in_list(k->fewer, c)) return false;
    return is_ascii_word(c) || c >= 0x80 || (k->kind == FTS_PORTER3 && c == '_') || in_list(k->more, c);
  }
  if (in_list(k->fewer, c)) return false;
  return in_list(k->more, c) || (!is_mark(c) && is_word(c));
}

/* ---- Porter ---- */
enum { STEM_MAX = 64 };
typedef struct stem {
  char p[STEM_MAX + 8];
  int n;
} stem;

static bool is_consonant(const stem *s, int i) {
  switch (s->p[i]) {
  case 'a': case 'e': case 'i': case 'o': case 'u': return false;
  case 'y': return i == 0 || !is_consonant(s, i - 1);
  default: return true;
  }
}
/* How often a vowel is followed by a consonant among the first n letters. */
static int measure(const stem *s, int n) {
  int m = 0;
  for (int i = 1; i < n; i++) m += is_consonant(s, i) && !is_consonant(s, i - 1);
  return m;
}
static bool has_vowel(const stem *s, int n) {
  for (int i = 0; i < n; i++)
    if (!is_consonant(s, i)) return true;
  return false;
}
static bool ends_double(const stem *s) {
  return s->n >= 2 && s->p[s->n - 1] == s->p[s->n - 2] && is_consonant(s, s->n - 1);
}
static bool ends_cvc(const stem *s, int n) {
  if (n < 3) return false;
  char c = s->p[n - 1];
  return is_consonant(s, n - 1) && !is_consonant(s, n - 2) && is_consonant(s, n - 3) && c != 'w' && c != 'x' && c != 'y';
}
static bool ends(const stem *s, const char *suffix, int *rest) {
  int n = (int)strlen(suffix);
  if (s->n < n || memcmp(s->p + s->n - n, suffix, (size_t)n) != 0) return false;
  *rest = s->n - n;
  return true;
}
static void put(stem *s, int rest, const char *text) {
  size_t n = strlen(text);
  memcpy(s->p + rest, text, n);
  s->n = rest + (int)n;
}

typedef struct rule {
  const char *from, *to;
} rule;
/* The first suffix that fits decides. */
static void replace(stem *s, const rule *rules, size_t n, int least) {
  int rest;
  for (size_t i = 0; i < n; i++) {
    if (!ends(s, rules[i].from, &rest)) continue;
    if (measure(s, rest) > least) put(s, rest, rules[i].to);
    return;
  }
}

static void plural_and_past(stem *s) {
  int rest;
  if (ends(s, "sses", &rest)) s->n -= 2;
  else if (ends(s, "ies", &rest)) s->n -= 2;
  else if (s->n > 1 && s->p[s->n - 1] == 's' && s->p[s->n - 2] != 's') s->n--;
  if (ends(s, "eed", &rest)) {
    if (measure(s, rest) > 0) s->n--;
  } else if ((ends(s, "ed", &rest) && has_vowel(s, rest)) || (ends(s, "ing", &rest) && has_vowel(s, rest))) {
    s->n = rest;
    int ignored;
    if (ends(s, "at", &ignored) || ends(s, "bl", &ignored) || ends(s, "iz", &ignored)) s->p[s->n++] = 'e';
    else if (ends_double(s) && !strchr("lsz", s->p[s->n - 1])) s->n--;
    else if (measure(s, s->n) == 1 && ends_cvc(s, s->n)) s->p[s->n++] = 'e';
  }
  if (s->n > 1 && s->p[s->n - 1] == 'y' && has_vowel(s, s->n - 1)) s->p[s->n - 1] = 'i';
}

static void drop_suffix(stem *s) {
  static const char *const suffixes[] = {"ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ism", "ate",
                                         "iti",   "ous",  "ive",  "ize",  "ion",  "al",   "er",  "ic",  "ou"};
  int rest;
  for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
    if (!ends(s, suffixes[i], &rest)) continue;
    if (strcmp(suffixes[i], "ion") == 0 && (rest == 0 || !strchr("st", s->p[rest - 1]))) return;
    if (measure(s, rest) > 1) s->n = rest;
    return;
  }
}

static void porter_stem(stem *s) {
  static const rule second[] = {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
                                {"logi", "log"}, {"bli", "ble"}, {"alli", "al"}, {"entli", "ent"}, {"eli", "e"}, {"ousli", "ous"},
                                {"ization", "ize"}, {"ation", "ate"}, {"ator", "ate"}, {"alism", "al"}, {"iveness", "ive"},
                                {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"}, {"iviti", "ive"}, {"biliti", "ble"}};
  static const rule third[] = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""}};
  plural_and_past(s);
  replace(s, second, COUNT_OF(second), 0);
  replace(s, third, COUNT_OF(third), 0);
  drop_suffix(s);
  if (s->n && s->p[s->n - 1] == 'e') {
    int m = measure(s, s->n - 1);
    if (m > 1 || (m == 1 && !ends_cvc(s, s->n - 1))) s->n--;
  }
  if (s->n > 1 && s->p[s->n - 1] == 'l' && s->p[s->n - 2] == 'l' && measure(s, s->n - 1) > 1) s->n--;
}

/* FTS3's porter: words with other characters, or too short or long, keep their ends only. */
static void keep_ends(const char *p, size_t n, stem *s) {
  bool digit = false;
  size_t most = 10;
  for (size_t i = 0; i < n; i++) digit = digit || (p[i] >= '0' && p[i] <= '9');
  if (digit) most = 3;
  s->n = 0;
  for (size_t i = 0; i < n; i++)
    if (n <= most * 2 || i < most || i >= n - most) s->p[s->n++] = p[i];
}

static bool all_small(const char *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i] < 'a' || p[i] > 'z') return false;
  return true;
}

/* ---- walking ---- */
typedef struct token_walk {
  const fts_tokenizer *k;
  fts_token_visitor visit;
  void *context;
  buf token;
} token_walk;

static status give(token_walk *w, size_t from, size_t to) {
  const char *p = (const char *)w->token.p;
  size_t n = w->token.n;
  stem s;
  if (buf_failed(&w->token)) return HDB_NOMEM;
  if (w->k->kind == FTS_PORTER3) {
    if (n >= 3 && n < 21 && all_small(p, n)) memcpy(s.p, p, n), s.n = (int)n, porter_stem(&s);
    else keep_ends(p, n, &s);
    return w->visit(w->context, s.p, (size_t)s.n, from, to);
  }
  if (!w->k->porter || n <= 2 || n > STEM_MAX) return w->visit(w->context, p, n, from, to);
  memcpy(s.p, p, n), s.n = (int)n;
  porter_stem(&s);
  return w->visit(w->context, s.p, (size_t)s.n, from, to);
}

static void add_folded(token_walk *w, uint32_t c) {
  uint8_t bytes[4];
  if (w->k->kind != FTS_UNICODE61) {
    c = c >= 'A' && c <= 'Z' ? c + 32 : c;
    buf_byte(&w->token, (uint8_t)c);
    return;
  }
  if (w->k->diacritics && is_mark(c)) return;
  uint32_t base = w->k->diacritics ? base_letter(c, w->k->diacritics) : 0;
  buf_append(&w->token, bytes, utf8_write(base ? base : small_letter(c), bytes));
}

static status words(token_walk *w, slice text) {
  const uint8_t *p = text.p, *end = text.p + text.n;
  bool bytes = w->k->kind != FTS_UNICODE61;
  while (p < end) {
    const uint8_t *from = p, *at = p;
    uint32_t c = bytes ? *p++ : utf8_read(&p, end);
    if (!starts_word(w->k, c)) continue;
    buf_clear(&w->token);
    for (;;) {
      add_folded(w, c);
      at = p;
      if (p >= end) break;
      c = bytes ? *p++ : utf8_read(&p, end);
      if (!starts_word(w->k, c) && (bytes || !is_mark(c) || in_list(w->k->fewer, c))) break;
    }
    TRY(give(w, (size_t)(from - text.p), (size_t)(at - text.p)));
  }
  return HDB_OK;
}

static status trigrams(token_walk *w, slice text) {
  const uint8_t *starts[4], *p = text.p, *end = text.p + text.n;
  size_t sizes[3];
  int n = 0;
  buf_clear(&w->token);
  while (p < end) {
    uint8_t bytes[4];
    starts[n] = p;
    uint32_t c = utf8_read(&p, end);
    sizes[n] = utf8_write(w->k->case_sensitive ? c : small_letter(c), bytes);
    buf_append(&w->token, bytes, sizes[n]);
    if (++n < 3) continue;
    if (buf_failed(&w->token)) return HDB_NOMEM;
    TRY(w->visit(w->context, (const char *)w->token.p, w->token.n, (size_t)(starts[0] - text.p), (size_t)(p - text.p)));
    memmove(w->token.p, w->token.p + sizes[0], w->token.n - sizes[0]);
    w->token.n -= sizes[0];
    starts[0] = starts[1], starts[1] = starts[2], sizes[0] = sizes[1], sizes[1] = sizes[2];
    n = 2;
  }
  return HDB_OK;
}

status fts_tokenize(const fts_tokenizer *k, slice text, fts_token_visitor visit, void *context) {
  token_walk w = {k, visit, context, BUF_INIT};
  if (!text.n) return HDB_OK;
  status rc = k->kind == FTS_TRIGRAM ? trigrams(&w, text) : words(&w, text);
  buf_free(&w.token);
  return rc;
}

/* ---- choosing ---- */
static const uint32_t *characters(arena *memory, const uint32_t *before, const char *text) {
  size_t n = strlen(text), had = 0;
  while (before && before[had]) had++;
  uint32_t *list = arena_zero(memory, (had + n + 1) * sizeof *list);
  const uint8_t *p = (const uint8_t *)text, *end = p + n;
  if (!list) return NULL;
  for (size_t i = 0; i < had; i++) list[i] = before[i];
  while (p < end) list[had++] = utf8_read(&p, end);
  return list;
}

static status set_option(arena *memory, fts_tokenizer *k, const char *name, const char *text) {
  if (k->kind == FTS_TRIGRAM) {
    if (strcasecmp(name, "case_sensitive") != 0 || (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)) return HDB_ERROR;
    k->case_sensitive = *text == '1';
    return HDB_OK;
  }
  if (strcasecmp(name, "remove_diacritics") == 0 && k->kind == FTS_UNICODE61) {
    if (*text < '0' || *text > '2' || text[1]) return HDB_ERROR;
    k->diacritics = (uint8_t)(*text - '0');
    return HDB_OK;
  }
  if (strcasecmp(name, "tokenchars") == 0) k->more = characters(memory, k->more, text);
  else if (strcasecmp(name, "separators") == 0) k->fewer = characters(memory, k->fewer, text);
  else return HDB_ERROR;
  return HDB_OK;
}

static status parse3(arena *memory, const char *const *words_, int n, fts_tokenizer *out) {
  if (n == 0 || strcmp(words_[0], "simple") == 0) {
    out->kind = FTS_SIMPLE;
    if (n > 1) { /* the word characters are all but these; not ASCII alone then */
      out->fewer = characters(memory, NULL, words_[1]);
      return HDB_ERROR;
    }
    return HDB_OK;
  }
  if (strcmp(words_[0], "porter") == 0) {
    out->kind = FTS_PORTER3;
    return HDB_OK;
  }
  if (strcmp(words_[0], "unicode61") != 0) return HDB_ERROR;
  out->kind = FTS_UNICODE61;
  for (int i = 1; i < n; i++) {
    const char *equal = strchr(words_[i], '=');
    char *name = equal ? arena_strndup(memory, words_[i], (size_t)(equal - words_[i])) : NULL;
    if (!name || set_option(memory, out, name, equal + 1) != HDB_OK) return HDB_ERROR;
  }
  return HDB_OK;
}

status fts_tokenizer_parse(arena *memory, int version, const char *const *words_, int n, fts_tokenizer *out) {
  *out = (fts_tokenizer){.kind = FTS_UNICODE61, .diacritics = 1};
  if (version != 5) return parse3(memory, words_, n, out);
  if (n && strcasecmp(words_[0], "porter") == 0) {
    out->porter = true;
    words_++, n--;
  }
  if (n == 0) return HDB_OK;
  if (strcasecmp(words_[0], "ascii") == 0) out->kind = FTS_ASCII;
  else if (strcasecmp(words_[0], "trigram") == 0) out->kind = FTS_TRIGRAM;
  else if (strcasecmp(words_[0], "unicode61") != 0) return HDB_ERROR;
  if ((n - 1) % 2) return HDB_ERROR;
  for (int i = 1; i + 1 < n; i += 2)
    if (set_option(memory, out, words_[i], words_[i + 1]) != HDB_OK) return HDB_ERROR;
  return HDB_OK;
}
