/* Does a text end in a complete statement? sqlite3_complete's rule, for shells and complete_statement().
 *
 * A statement ends at a ';' outside of quotes and comments; one that begins CREATE [TEMP|TEMPORARY] TRIGGER, also
 * behind EXPLAIN, ends only at ";END;". Unbalanced quotes and an open comment are not complete. Tokens are cut more
 * loosely than by the lexer, on purpose: the text need not be valid. One pass, no memory.
 */
#include "grammar/parser.h"

enum word_kind { WORD_SEMI, WORD_SPACE, WORD_OTHER, WORD_EXPLAIN, WORD_CREATE, WORD_TEMP, WORD_TRIGGER, WORD_END };
enum { INVALID, START, NORMAL, EXPLAINED, CREATED, TRIGGER, TRIGGER_SEMI, TRIGGER_END };

static const uint8_t next_state[8][8] = {
    /*                 ;             space        other    EXPLAIN    CREATE   TEMP     TRIGGER  END */
    [INVALID] =      {START,        INVALID,      NORMAL,  EXPLAINED, CREATED, NORMAL,  NORMAL,  NORMAL},
    [START] =        {START,        START,        NORMAL,  EXPLAINED, CREATED, NORMAL,  NORMAL,  NORMAL},
    [NORMAL] =       {START,        NORMAL,       NORMAL,  NORMAL,    NORMAL,  NORMAL,  NORMAL,  NORMAL},
    [EXPLAINED] =    {START,        EXPLAINED,    EXPLAINED, NORMAL,  CREATED, NORMAL,  NORMAL,  NORMAL},
    [CREATED] =      {START,        CREATED,      NORMAL,  NORMAL,    NORMAL,  CREATED, TRIGGER, NORMAL},
    [TRIGGER] =      {TRIGGER_SEMI, TRIGGER,      TRIGGER, TRIGGER,   TRIGGER, TRIGGER, TRIGGER, TRIGGER},
    [TRIGGER_SEMI] = {TRIGGER_SEMI, TRIGGER_SEMI, TRIGGER, TRIGGER,   TRIGGER, TRIGGER, TRIGGER, TRIGGER_END},
    [TRIGGER_END] =  {START,        TRIGGER_END,  TRIGGER, TRIGGER,   TRIGGER, TRIGGER, TRIGGER, TRIGGER},
};

static enum word_kind classify(token t) {
  if (token_is(t, "create")) return WORD_CREATE;
  if (token_is(t, "trigger")) return WORD_TRIGGER;
  if (token_is(t, "temp") || token_is(t, "temporary")) return WORD_TEMP;
  if (token_is(t, "end")) return WORD_END;
  if (token_is(t, "explain")) return WORD_EXPLAIN;
  return WORD_OTHER;
}

bool grammar_complete(const char *sql) {
  const uint8_t *z = (const uint8_t *)sql;
  int state = INVALID;
  while (*z) {
    enum word_kind kind = WORD_OTHER;
    const uint8_t *from = z;
    if (*z == ';') {
      kind = WORD_SEMI, z++;
    } else if (*z == ' ' || *z == '\r' || *z == '\t' || *z == '\n' || *z == '\f') {
      kind = WORD_SPACE, z++;
    } else if (z[0] == '/' && z[1] == '*') {
      for (z += 2; *z && !(z[0] == '*' && z[1] == '/'); z++) {}
      if (!*z) return false;
      kind = WORD_SPACE, z += 2;
    } else if (z[0] == '-' && z[1] == '-') {
      while (*z && *z != '\n') z++;
      if (!*z) return state == START;
      kind = WORD_SPACE;
    } else if (*z == '[' || *z == '`' || *z == '"' || *z == '\'') {
      uint8_t quote = *z == '[' ? ']' : *z;
      for (z++; *z && *z != quote; z++) {}
      if (!*z) return false;
      z++;
    } else if (lex_identifier_byte(*z)) {
      while (lex_identifier_byte(*z)) z++;
      kind = classify((token){from, (uint32_t)(z - from)});
    } else {
      z++;
    }
    state = next_state[state][kind];
  }
  return state == START;
}
