/* Text functions of the core list (func_text.c, func_like.c, func_printf.c), for func_core.c's table. */
#ifndef HDB_SQL_FUNC_TEXT_H
#define HDB_SQL_FUNC_TEXT_H

#include "sql/func.h"

#define SCALAR(name) status name(function_call *call, int n, const value *a, value *result)
SCALAR(text_char);
SCALAR(text_concat);
SCALAR(text_concat_ws);
SCALAR(text_glob);
SCALAR(text_hex);
SCALAR(text_instr);
SCALAR(text_length);
SCALAR(text_like);
SCALAR(text_lower);
SCALAR(text_ltrim);
SCALAR(text_octet_length);
SCALAR(text_printf);
SCALAR(text_quote);
SCALAR(text_replace);
SCALAR(text_rtrim);
SCALAR(text_soundex);
SCALAR(text_substr);
SCALAR(text_trim);
SCALAR(text_unhex);
SCALAR(text_unicode);
SCALAR(text_upper);
#undef SCALAR

/* "%!.*f": r with that many digits (at most 30) behind the point, zeros at the end taken off. |r| <= 2^52.
 * Room for 80 bytes. */
size_t real_to_fixed(double r, int digits, char *out);

#endif
