/* Stored nodes of vector graphs, damaged: what hnsw_load_node, hnsw_load_finish and hnsw_check_node do with any bytes.
 *
 *   fuzz_hnsw ITERATIONS [SEED]
 *
 * A small graph's nodes are stored, some of them changed (bytes, lengths, hostile counts, labels and levels, pieces of other
 * nodes, repeated links; the stamp is mostly kept right, else nothing else would be read), copied into memory of exactly their
 * size, and loaded. Whatever came in is then searched to its end, grown, thinned out, repaired, and stored: what it stores
 * must load again. Checked: a search returns labels that were loaded, none twice.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "hnsw/hnsw.h"

enum { NODES = 48, DIMENSIONS = 20, NODE_MAX = 2048 };

static float vectors[NODES + 8][DIMENSIONS];
static buf stored[NODES];
static uint64_t state;

static uint64_t next_random(void) {
  state += 0x9e3779b97f4a7c15u;
  uint64_t z = state;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
static size_t below(size_t n) {
  return n ? next_random() % n : 0;
}

static void die(const char *what, long iteration) {
  fprintf(stderr, "fuzz_hnsw: %s in iteration %ld\n", what, iteration);
  abort();
}

static hnsw_options shape(uint64_t variant) {
  return (hnsw_options){.dimensions = DIMENSIONS,
                        .metric = variant % 4,
                        .m = variant & 4 ? 2 : 5,
                        .ef_construction = 20,
                        .copy8 = variant & 8};
}

/* Labels far apart and negative ones among them. */
static int64_t label_of(int i) {
  return i % 7 == 3 ? INT64_MIN + i : i % 5 == 1 ? INT64_MAX - i : i * 3 - 40;
}

static void make_nodes(void) {
  hnsw_options o = shape(0);
  o.m = 5;
  hnsw *g = hnsw_new(&o);
  state = 11;
  for (int i = 0; i < NODES + 8; i++)
    for (int k = 0; k < DIMENSIONS; k++) vectors[i][k] = (float)below(2000) / 1000 - 1;
  for (int i = 0; i < NODES; i++)
    if (hnsw_add(g, label_of(i), vectors[i]) != HDB_OK) die("no memory", 0);
  for (int i = 0; i < NODES; i++) hnsw_store_node(g, label_of(i), &stored[i]);
  hnsw_free(g);
}

static void put_varint(uint8_t *bytes, size_t *at, uint64_t v) {
  for (; v >= 128 && *at < NODE_MAX; v >>= 7) bytes[(*at)++] = (uint8_t)(v | 128);
  if (*at < NODE_MAX) bytes[(*at)++] = (uint8_t)v;
}

/* A node that only its stamp and label are right of. */
static size_t hostile(uint8_t *bytes, int64_t label) {
  static const uint64_t numbers[] = {0,  1,   4,   5,   9,   10,         11,         63,
                                     64, 127, 128, 200, 201, UINT32_MAX, UINT64_MAX, 1ull << 63};
  size_t at = 4;
  int levels = (int)below(18);
  put_varint(bytes, &at, below(4) ? (uint64_t)levels : numbers[below(16)]);
  put_varint(bytes, &at, below(8) ? ((uint64_t)label << 1) ^ (uint64_t)(label >> 63) : next_random());
  for (int level = 0; level <= levels; level++) {
    uint64_t count = below(6) ? below(11) : numbers[below(16)];
    put_varint(bytes, &at, count);
    for (uint64_t i = 0; i < count && i < 220; i++)
      put_varint(bytes, &at, below(3) ? below(8) : numbers[below(16)]);
  }
  return at;
}

static int by_label(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Well formed, but nonsense: nodes of the graph and none of it, itself, one twice, on levels that they do not have. */
static size_t nonsense(uint8_t *bytes, int64_t label) {
  size_t at = 4;
  int levels = below(3) ? (int)below(3) : (int)below(16);
  put_varint(bytes, &at, (uint64_t)levels);
  put_varint(bytes, &at, ((uint64_t)label << 1) ^ (uint64_t)(label >> 63));
  for (int level = 0; level <= levels; level++) {
    int64_t labels[10];
    size_t count = below(level ? 3 : 5);
    for (size_t i = 0; i < count; i++)
      labels[i] = below(8) ? label_of((int)below(NODES + 8)) : (int64_t)next_random();
    qsort(labels, count, sizeof *labels, by_label);
    put_varint(bytes, &at, count);
    for (size_t i = 0; i < count; i++) {
      uint64_t delta = (uint64_t)labels[i] - (uint64_t)(i ? labels[i - 1] : label);
      put_varint(bytes, &at, i ? delta : (delta << 1) ^ (uint64_t)((int64_t)delta >> 63));
    }
  }
  return at;
}

static size_t mutate(int i, uint8_t *bytes, size_t rarely) {
  size_t n = stored[i].n;
  memcpy(bytes, stored[i].p, n);
  if (below(2)) {
    if (below(rarely) == 0) n = nonsense(bytes, label_of(i));
  } else if (below(rarely)) {
    return n;
  } else if (below(3) == 0) {
    n = hostile(bytes, label_of(i));
  } else {
    for (size_t k = below(4); k > 0; k--) bytes[below(n)] = (uint8_t)next_random();
    if (below(4) == 0) n = below(n + 1);
    if (below(4) == 0) {
      const buf *other = &stored[below(NODES)];
      size_t from = below(other->n), piece = other->n - from;
      if (n + piece <= NODE_MAX) memcpy(bytes + n, other->p + from, piece), n += piece;
    }
  }
  if (n >= 4 && below(10)) memcpy(bytes, stored[i].p, 4);
  return n;
}

static bool some_known(void *context, int64_t label) {
  return (*(uint64_t *)context ^ (uint64_t)label) & 1;
}
static bool refuses_some(void *context, int64_t label) {
  return (uint64_t)label % 3 != *(uint64_t *)context % 3;
}
static void tell(void *context, const int64_t *labels, size_t n) {
  for (size_t i = 0; i < n; i++) *(uint64_t *)context += (uint64_t)labels[i] & 2;
}
static void visit(void *context, int64_t label) {
  *(uint64_t *)context += (uint64_t)label;
}

static void search_all(hnsw *g, long iteration) {
  static int64_t seen[NODES + 8];
  size_t n = 0;
  uint64_t context = next_random();
  hnsw_search *s = hnsw_search_open(g, vectors[below(NODES)], 1 + (int)below(20),
                                    below(2) ? refuses_some : NULL, &context);
  if (!s) die("no memory", iteration);
  hnsw_search_announce(s, tell);
  int64_t label;
  for (double distance; hnsw_search_next(s, &label, &distance);) {
    for (size_t k = 0; k < n; k++)
      if (seen[k] == label) die("a label came twice", iteration);
    if (n == NODES + 8) die("more labels than nodes", iteration);
    seen[n++] = label;
    if (!hnsw_contains(g, label)) die("a label that is not there", iteration);
    if (n == 3 && below(2)) hnsw_search_spread(s, 30);
  }
  hnsw_search_close(s);
}

/* Mended, every node is found. */
static void count_all(hnsw *g, long iteration) {
  size_t n = 0;
  int64_t label;
  hnsw_search *s = hnsw_search_open(g, vectors[below(NODES)], 5, NULL, NULL);
  if (!s) die("no memory", iteration);
  for (double distance; hnsw_search_next(s, &label, &distance);) n++;
  hnsw_search_close(s);
  if (n != hnsw_count(g)) die("a node that no search finds", iteration);
}

/* What a graph stores, it takes back. */
static void store_and_load(hnsw *g, const hnsw_options *o, long iteration) {
  hnsw *again = hnsw_new(o);
  buf b = BUF_INIT;
  for (int i = 0; i < NODES + 8; i++) {
    buf_clear(&b);
    if (hnsw_store_node(g, label_of(i), &b) != HDB_OK) continue;
    if (hnsw_load_node(again, label_of(i), buf_slice(&b), vectors[i]) != HDB_OK)
      die("what was stored is refused", iteration);
  }
  if (hnsw_load_finish(again) != HDB_OK) die("what was stored is damaged", iteration);
  if (hnsw_count(again) != hnsw_count(g)) die("nodes were lost", iteration);
  search_all(again, iteration);
  buf_free(&b);
  hnsw_free(again);
}

static long searched; /* graphs that came in */

static long fuzz_one(long iteration) {
  uint8_t bytes[NODE_MAX];
  uint64_t context = next_random();
  hnsw_options o = shape(context);
  hnsw *g = hnsw_new(&o);
  size_t rarely = 1 + below(3) * 40;
  if (!g) die("no memory", iteration);
  for (int i = 0; i < NODES; i++) {
    size_t n = mutate(i, bytes, rarely);
    int64_t broken = 0;
    uint8_t *exact = malloc(n ? n : 1);
    if (!exact) die("no memory", iteration);
    memcpy(exact, bytes, n);
    hnsw_check_node(&o, slice_of(exact, n), label_of(i), vectors[i], some_known, &context, &broken);
    hnsw_load_node(g, label_of(i), slice_of(exact, n), vectors[i]);
    free(exact);
  }
  if (hnsw_load_finish(g) == HDB_OK) {
    search_all(g, iteration);
    for (int i = 0; i < 8; i++)
      if (hnsw_add(g, label_of(NODES + i), vectors[NODES + i]) != HDB_OK) die("no memory", iteration);
    for (int i = 0; i < 12; i++) hnsw_remove(g, label_of((int)below(NODES)));
    search_all(g, iteration);
    if (hnsw_repair(g) != HDB_OK) die("no memory", iteration);
    search_all(g, iteration);
    if (hnsw_mend(g) != HDB_OK) die("no memory", iteration);
    count_all(g, iteration);
    searched++;
    search_all(g, iteration);
    hnsw_each_changed(g, visit, &context);
    store_and_load(g, &o, iteration);
  }
  long kept = (long)hnsw_count(g);
  hnsw_free(g);
  return kept;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: fuzz_hnsw ITERATIONS [SEED]\n");
    return 2;
  }
  long iterations = atol(argv[1]), kept = 0;
  uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
  make_nodes();
  for (long i = 0; i < iterations; i++) {
    state = seed * 1000003u + (uint64_t)i;
    kept += fuzz_one(i);
  }
  printf("fuzz_hnsw: %ld graphs, %ld of them whole, %ld nodes, seed %" PRIu64 "\n", iterations, searched,
         kept, seed);
  for (int i = 0; i < NODES; i++) buf_free(&stored[i]);
  return 0;
}
