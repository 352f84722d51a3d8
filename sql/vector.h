/* Vectors as SQL values: a blob of little-endian float32, n * 4 bytes; text '[1, 2.5, -3e2]' (a JSON array of numbers)
 * is read wherever a vector is wanted, and so is a blob of n float64 where n is known. A VECTOR(n) column stores the blob and nothing else. */
#ifndef HDB_SQL_VECTOR_H
#define HDB_SQL_VECTOR_H

#include "hnsw/hnsw.h"
#include "sql/function.h"

enum vector_strategy { VECTOR_AUTO, VECTOR_GRAPH, VECTOR_EXACT };
enum { VECTOR_DIMENSIONS_MAX = 65535 };

/* n of a declared type "VECTOR(n)", any case; 0: another type, or n out of 1..65535. */
int vector_dimensions_of_type(const char *type);

/* Reads a vector: *floats points at n floats (borrowing the blob, or in the arena). `want` > 0: n must be that.
 * HDB_ERROR with a sentence in err: not a vector, not finite, wrong length. */
status vector_read(const value *v, int want, arena *a, const float **floats, int *n, error *err);

/* [1,2.5]: n float32 elements, the shortest digits that give them back. */
void vector_put_text(const void *elements, size_t n, buf *out);

/* "cosine", "l2", "euclidean", "ip", "inner_product", "l1", "manhattan", any case; false: none of them. */
bool vector_metric_named(const char *name, size_t n, enum hnsw_metric *out);

extern const function_table functions_vector;

#endif
