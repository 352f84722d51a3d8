/* What the engine does in the background with the past, done now. Apart from the others: mvcc has names that the model has too. */
#include "mvcc/images.h"
#include "mvcc/internal.h"

int sim_pack(engine *e, bool forget, bool small);

int sim_pack(engine *e, bool forget, bool small) {
  e->image_lasted = 0;
  pack_sizes(e, small ? 100 : 4096, small ? 240 : 32768);
  status rc = pack_all(e);
  if (forget && e->images) images_drop(e->images, 0); /* so that the blocks are read */
  return rc;
}
