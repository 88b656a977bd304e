/* Statistics over many float32 arrays in one pass each, accumulated in double, and the digest of weights.
 *
 * This runs between two iterations of the solver, so its time is the harness's cost: it touches every byte once and
 * makes no temporaries. numpy needs several passes and a float64 copy for the same numbers.
 *
 * NaN and infinity go into sums and maxima as in numpy: a NaN makes them NaN, an infinity infinite.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 32 /* independent accumulators, so that the compiler can vectorise without reordering a sum */
#define BLOCK 4096

#define INLINE static inline __attribute__((always_inline)) /* so that each version below has its own */

/* One version per instruction set in the same file; the loader picks (a container may move to another machine). */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#ifndef EVERY_CPU
#define EVERY_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define HAS_AVX512 __builtin_cpu_supports("avx512dq")
#endif
#define WITH_AVX512 __attribute__((target("arch=x86-64-v4")))
#else
#define EVERY_CPU
#define WITH_AVX512
#define HAS_AVX512 0
#endif

static double nonfinite(const float *x, int64_t count) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; ++i) n += !isfinite(x[i]);
  return (double)n;
}

typedef struct {
  double squares[LANES];
  float largest[LANES];
} Norms;

INLINE void add_norms(Norms *norms, const float *x, int64_t count) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    for (int j = 0; j < LANES; ++j) {
      float a = fabsf(x[i + j]);
      norms->squares[j] += (double)a * a;
      norms->largest[j] = a > norms->largest[j] ? a : norms->largest[j];
    }
  }
  for (int j = 0; i < count; ++i, ++j) {
    float a = fabsf(x[i]);
    norms->squares[j] += (double)a * a;
    norms->largest[j] = a > norms->largest[j] ? a : norms->largest[j];
  }
}

/* out[0], out[step], out[2 step]: l2 norm, largest magnitude, number of NaN or infinite values */
INLINE void write_norms(const Norms *norms, const float *x, int64_t count, double *out, int64_t step) {
  double sum = 0;
  float top = 0;
  for (int j = 0; j < LANES; ++j) {
    sum += norms->squares[j];
    top = norms->largest[j] > top ? norms->largest[j] : top;
  }
  out[0] = sqrt(sum);
  out[step] = isnan(sum) ? sum : top;
  out[2 * step] = isfinite(sum) ? 0 : nonfinite(x, count); /* squares of finite floats cannot overflow a double */
}

EVERY_CPU static void norms_of(const float *x, int64_t count, double *out, int64_t step) {
  Norms norms = {0};
  add_norms(&norms, x, count);
  write_norms(&norms, x, count, out, step);
}

/* The digest `multilinear` (harness/caffe_files/weight_digest.py): the sum of bits × key over all elements, mod 2^64. The
 * key of an element is that of its row of ROW elements times that of its place in the row.
 */
#define ROW 1024

static uint64_t place_key[ROW] __attribute__((aligned(64)));
static uint32_t place_low[ROW] __attribute__((aligned(64))), place_high[ROW] __attribute__((aligned(64))); /* its halves */

static uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static uint64_t key(uint64_t n) { return mixed((n + 1) * 0x9e3779b97f4a7c15u) | 1; }

__attribute__((constructor)) static void fill_keys(void) {
  for (int n = 0; n < ROW; ++n) {
    place_key[n] = key(n);
    place_low[n] = (uint32_t)place_key[n];
    place_high[n] = (uint32_t)(place_key[n] >> 32);
  }
}

INLINE uint32_t bits_of(const float *x) {
  uint32_t bits;
  memcpy(&bits, x, sizeof bits);
  return bits;
}

/* Sums of bits × key over elements of one row from `place` on. Products of 64 bits are fast in AVX-512 only. */
WITH_AVX512 static uint64_t row_by_64(const float *x, int64_t count, uint64_t place) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += bits_of(x + i) * place_key[place + i];
  return sum;
}

EVERY_CPU static uint64_t row_by_32(const float *x, int64_t count, uint64_t place) {
  uint64_t low = 0;
  uint32_t high = 0;
  for (int64_t i = 0; i < count; ++i) {
    low += (uint64_t)bits_of(x + i) * place_low[place + i];
    high += bits_of(x + i) * place_high[place + i];
  }
  return low + ((uint64_t)high << 32);
}

/* The norms of x, and the part of its elements in the digest; `position` elements come before them. */
EVERY_CPU static uint64_t weights_of(const float *x, int64_t count, uint64_t position, double *out, int64_t step) {
  Norms norms = {0};
  uint64_t digest = 0;
  for (int64_t i = 0, n, from = 0, to; i < count; i += n, from = to) {
    uint64_t at = position + (uint64_t)i, place = at % ROW;
    n = (int64_t)(ROW - place) < count - i ? (int64_t)(ROW - place) : count - i;
    digest += (HAS_AVX512 ? row_by_64 : row_by_32)(x + i, n, place) * key(ROW + at / ROW);
    to = i + n < count ? (i + n) / LANES * LANES : count; /* the same lane for each element as in norms_of */
    add_norms(&norms, x + from, to - from);
  }
  write_norms(&norms, x, count, out, step);
  return digest;
}

/* out[0], out[step]…: mean magnitude, largest magnitude, share of zeros, number of NaN or infinite values */
EVERY_CPU static void activity_of(const float *x, int64_t count, double *out, int64_t step) {
  double magnitudes[LANES] = {0}, sum = 0;
  float largest[LANES] = {0}, top = 0;
  int64_t zeros = 0, i = 0;
  while (i + LANES <= count) {
    int64_t stop = i + BLOCK < count ? i + BLOCK : count;
    int32_t zero[LANES] = {0};
    for (; i + LANES <= stop; i += LANES) {
      for (int j = 0; j < LANES; ++j) {
        float a = fabsf(x[i + j]);
        magnitudes[j] += a;
        largest[j] = a > largest[j] ? a : largest[j];
        zero[j] += a == 0;
      }
    }
    for (int j = 0; j < LANES; ++j) zeros += zero[j];
  }
  for (int j = 0; i < count; ++i, ++j) {
    float a = fabsf(x[i]);
    magnitudes[j] += a;
    largest[j] = a > largest[j] ? a : largest[j];
    zeros += a == 0;
  }
  for (int j = 0; j < LANES; ++j) {
    sum += magnitudes[j];
    top = largest[j] > top ? largest[j] : top;
  }
  out[0] = sum / (count > 0 ? count : 1);
  out[step] = isnan(sum) ? sum : top;
  out[2 * step] = (double)zeros / (count > 0 ? count : 1);
  out[3 * step] = isfinite(sum) ? 0 : nonfinite(x, count);
}

/* out[0], out[step]…: smallest value, largest value, mean magnitude, number of NaN or infinite values */
EVERY_CPU static void range_of(const float *x, int64_t count, double *out, int64_t step) {
  double magnitudes[LANES] = {0}, sum = 0;
  float low[LANES], high[LANES], bottom = INFINITY, top = -INFINITY;
  int64_t i = 0;
  for (int j = 0; j < LANES; ++j) {
    low[j] = INFINITY;
    high[j] = -INFINITY;
  }
  for (; i + LANES <= count; i += LANES) {
    for (int j = 0; j < LANES; ++j) {
      float a = x[i + j];
      magnitudes[j] += fabsf(a);
      low[j] = a < low[j] ? a : low[j];
      high[j] = a > high[j] ? a : high[j];
    }
  }
  for (int j = 0; i < count; ++i, ++j) {
    float a = x[i];
    magnitudes[j] += fabsf(a);
    low[j] = a < low[j] ? a : low[j];
    high[j] = a > high[j] ? a : high[j];
  }
  for (int j = 0; j < LANES; ++j) {
    sum += magnitudes[j];
    bottom = low[j] < bottom ? low[j] : bottom;
    top = high[j] > top ? high[j] : top;
  }
  int known = count > 0 && !isnan(sum);
  out[0] = known ? bottom : NAN;
  out[step] = known ? top : NAN;
  out[2 * step] = count > 0 ? sum / count : NAN;
  out[3 * step] = isfinite(sum) ? 0 : nonfinite(x, count);
}

void norms(const float *const *x, const int64_t *count, int64_t arrays, double *out) {
  for (int64_t i = 0; i < arrays; ++i) norms_of(x[i], count[i], out + i, arrays);
}

/* As norms, and the digest of all elements of all arrays. */
uint64_t weights(const float *const *x, const int64_t *count, int64_t arrays, double *out) {
  uint64_t digest = 0, position = 0;
  for (int64_t i = 0; i < arrays; ++i) {
    digest += weights_of(x[i], count[i], position, out + i, arrays);
    position += (uint64_t)count[i];
  }
  return digest + mixed(position);
}

void activity(const float *const *x, const int64_t *count, int64_t arrays, double *out) {
  for (int64_t i = 0; i < arrays; ++i) activity_of(x[i], count[i], out + i, arrays);
}

void range(const float *const *x, const int64_t *count, int64_t arrays, double *out) {
  for (int64_t i = 0; i < arrays; ++i) range_of(x[i], count[i], out + i, arrays);
}
