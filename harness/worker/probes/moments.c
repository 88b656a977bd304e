/* Statistics over many float32 arrays in one pass each, accumulated in double.
 *
 * This runs between two iterations of the solver, so its time is the harness's cost: it touches every byte once and
 * makes no temporaries. numpy needs several passes and a float64 copy for the same numbers.
 *
 * NaN and infinity go into sums and maxima as in numpy: a NaN makes them NaN, an infinity infinite.
 */
#include <math.h>
#include <stdint.h>

#define LANES 32 /* independent accumulators, so that the compiler can vectorise without reordering a sum */
#define BLOCK 4096

/* One version per instruction set in the same file; the loader picks (a container may move to another machine). */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EVERY_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EVERY_CPU
#endif

static double nonfinite(const float *x, int64_t count) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; ++i) n += !isfinite(x[i]);
  return (double)n;
}

/* out[0], out[step], out[2 step]: l2 norm, largest magnitude, number of NaN or infinite values */
EVERY_CPU static void norms_of(const float *x, int64_t count, double *out, int64_t step) {
  double squares[LANES] = {0}, sum = 0;
  float largest[LANES] = {0}, top = 0;
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    for (int j = 0; j < LANES; ++j) {
      float a = fabsf(x[i + j]);
      squares[j] += (double)a * a;
      largest[j] = a > largest[j] ? a : largest[j];
    }
  }
  for (int j = 0; i < count; ++i, ++j) {
    float a = fabsf(x[i]);
    squares[j] += (double)a * a;
    largest[j] = a > largest[j] ? a : largest[j];
  }
  for (int j = 0; j < LANES; ++j) {
    sum += squares[j];
    top = largest[j] > top ? largest[j] : top;
  }
  out[0] = sqrt(sum);
  out[step] = isnan(sum) ? sum : top;
  out[2 * step] = isfinite(sum) ? 0 : nonfinite(x, count); /* squares of finite floats cannot overflow a double */
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

void activity(const float *const *x, const int64_t *count, int64_t arrays, double *out) {
  for (int64_t i = 0; i < arrays; ++i) activity_of(x[i], count[i], out + i, arrays);
}

void range(const float *const *x, const int64_t *count, int64_t arrays, double *out) {
  for (int64_t i = 0; i < arrays; ++i) range_of(x[i], count[i], out + i, arrays);
}
