/* The shuffles of Caffe's layers. Each swap depends on those before it, so numpy has no fast way: a hundred epochs of a
 * million lines take a second here, twenty with numpy.
 */
#include <stdint.h>

/* Shuffle `lines` as an ImageData layer does (util/rng.hpp), with the numbers that boost::uniform_int<long> makes of a
 * 32-bit generator's; `next(state)` gives the generator's next output (numpy's bitgen_t). */
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

enum { WORDS = 31, LAG = 3 };

/* The next output of rand() in glibc: `state` is its 31 words, followed by the number of the oldest. */
static uint32_t libc_rand(uint32_t *state) {
  uint32_t *oldest = &state[WORDS];
  uint32_t *word = &state[(*oldest + LAG) % WORDS];
  *word += state[*oldest];
  *oldest = (*oldest + 1) % WORDS;
  return *word >> 1;
}

/* Draw `count` outputs. */
void libc_discard(uint32_t *state, int count) {
  while (count-- > 0) libc_rand(state);
}

/* Shuffle `rows` as std::random_shuffle of libstdc++ does with rand() (bits/stl_algo.h). */
void libc_shuffle(uint32_t *state, int32_t *rows, int64_t count) {
  for (int64_t i = 1; i < count; ++i) {
    int64_t j = libc_rand(state) % (i + 1);
    int32_t row = rows[i];
    rows[i] = rows[j];
    rows[j] = row;
  }
}
