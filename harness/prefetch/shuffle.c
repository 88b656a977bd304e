/* Caffe's shuffle (util/rng.hpp) with the numbers that boost::uniform_int<long> makes of a 32-bit generator's.
 *
 * Each swap depends on those before it, so numpy has no fast way: a hundred epochs of a million lines take a second
 * here, twenty with numpy.
 */
#include <stdint.h>

/* Shuffle `lines`; `next(state)` gives the generator's next output (numpy's bitgen_t). */
void shuffle(int32_t *lines, int64_t count, uint32_t (*next)(void *), void *state) {
  for (int64_t i = count - 1; i > 0; --i) {
    uint32_t bucket = (uint32_t)((UINT64_C(1) << 32) / (uint64_t)(i + 1));
    int64_t j;
    do j = next(state) / bucket;
    while (j > i); /* uniform_int_distribution.hpp, the case brange > range */
    int32_t line = lines[i];
    lines[i] = lines[j];
    lines[j] = line;
  }
}
