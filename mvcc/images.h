/* Images: groups of the past that were undone once (images.c has the rules). Private to mvcc. */
#ifndef HDB_MVCC_IMAGES_H
#define HDB_MVCC_IMAGES_H

#include <stdatomic.h>

#include "kv/base/bytes.h"
#include "kv/base/status.h"

/* The rows of [lower, upper) of a tree at every time in [from, to); shared by reference. */
typedef struct image image;
struct image {
  atomic_int references;
  atomic_bool used;
  uint32_t tree;
  int64_t from, to;
  int64_t newest; /* of the group that it was made from */
  bool bounded;   /* upper is known; p NULL: to the end of the tree. Not known: only `newest` tells */
  slice lower, upper, bytes;
  uint64_t hash;
  image *chain, *ring_next, *ring_previous; /* under the shard's lock */
};

typedef struct images images;
status images_new(size_t bytes_max, images **out);
void images_free(images *all);
/* The group under `lower`, last changed at `newest`, as of a time; NULL: not here. With a reference. upper: asked for where
 * the group has changed since the image was made. */
typedef struct image_wanted {
  uint32_t tree;
  slice lower;
  const slice *upper; /* NULL: not known */
  int64_t newest, time;
  int64_t view; /* who reads */
} image_wanted;
image *images_get(images *all, const image_wanted *wanted);
/* Takes it in, and gives a reference back; NULL: out of memory, or too large. */
image *images_put(images *all, const image_wanted *wanted, int64_t from, int64_t to, slice bytes);
/* The same before anybody has asked: the bytes of a group that is about to change, upper known. */
void images_keep(images *all, const image_wanted *wanted, int64_t from, int64_t to, slice bytes);
void image_release(image *i);
/* All of them; and nothing that a view before `time` sees is taken in from now on. */
void images_drop(images *all, int64_t time);

#endif
