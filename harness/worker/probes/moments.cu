/* Partial statistics of pieces of float32 arrays in a GPU's memory, accumulated in double, and the digest of weights;
 * gpu.py adds them up.
 *
 * One block a piece: `start` is its address, `length` its elements, and out[7 * piece …] become its sum of squares, sum of
 * magnitudes, largest magnitude, zeros, NaN or infinite values, smallest value and largest value. A NaN is passed over in
 * the smallest and largest and makes the sums NaN, as in moments.c. The order of every sum is fixed: equal numbers give equal sums.
 *
 * tools/setup --cuda compiles this to PTX.
 */
#define THREADS 256
#define VALUES 7
#define LARGEST 2 /* places of the values that are not sums */
#define LOWEST 5
#define HIGHEST 6
#define ROW 1024

typedef unsigned long long Bits64;

static __device__ Bits64 key(Bits64 n) {
  Bits64 z = (n + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (z ^ (z >> 31)) | 1;
}

static __device__ void measure(const float *x, long long count, double *out) {
  __shared__ double value[VALUES][THREADS];
  const unsigned int thread = threadIdx.x;
  double squares = 0, magnitudes = 0, zeros = 0, nonfinite = 0;
  float largest = 0, low = INFINITY, high = -INFINITY;
  for (long long i = thread; i < count; i += THREADS) {
    float signed_value = x[i], a = fabsf(signed_value);
    squares += (double)a * a;
    magnitudes += a;
    largest = a > largest ? a : largest;
    zeros += a == 0;
    low = signed_value < low ? signed_value : low;
    high = signed_value > high ? signed_value : high;
    nonfinite += !(a <= 3.402823466e38f); /* FLT_MAX */
  }
  value[0][thread] = squares;
  value[1][thread] = magnitudes;
  value[2][thread] = largest;
  value[3][thread] = zeros;
  value[4][thread] = nonfinite;
  value[LOWEST][thread] = low;
  value[HIGHEST][thread] = high;
  for (unsigned int half = THREADS / 2; half; half /= 2) {
    __syncthreads();
    if (thread < half) {
      for (int k = 0; k < VALUES; ++k) {
        double a = value[k][thread], b = value[k][thread + half];
        if (k == LOWEST)
          value[k][thread] = a < b ? a : b;
        else
          value[k][thread] = k == LARGEST || k == HIGHEST ? (a > b ? a : b) : a + b;
      }
    }
  }
  if (thread == 0) {
    for (int k = 0; k < VALUES; ++k) out[k] = value[k][0];
  }
}

extern "C" __global__ void partials(const Bits64 *start, const long long *length, double *out) {
  measure((const float *)start[blockIdx.x], length[blockIdx.x], out + VALUES * blockIdx.x);
}

/* As `partials`; and digest[piece] becomes the part of the piece in the digest `multilinear` (weight_digest.py), where
 * `position` elements come before it. The piece is in a cache of the GPU when it is read again.
 */
extern "C" __global__ void weights(const Bits64 *start, const long long *length, const Bits64 *position, double *out,
                                   Bits64 *digest) {
  __shared__ Bits64 place_key[ROW], sum[THREADS];
  const unsigned int thread = threadIdx.x;
  const unsigned int *bits = (const unsigned int *)start[blockIdx.x];
  const Bits64 first = position[blockIdx.x];
  for (unsigned int n = thread; n < ROW; n += THREADS) place_key[n] = key(n);
  __syncthreads();
  Bits64 row = 0, row_key = key(ROW), mine = 0;
  for (long long i = thread; i < length[blockIdx.x]; i += THREADS) {
    const Bits64 at = first + i;
    if (at / ROW != row) {
      row = at / ROW;
      row_key = key(ROW + row);
    }
    mine += bits[i] * place_key[at % ROW] * row_key;
  }
  sum[thread] = mine;
  for (unsigned int half = THREADS / 2; half; half /= 2) {
    __syncthreads();
    if (thread < half) sum[thread] += sum[thread + half];
  }
  if (thread == 0) digest[blockIdx.x] = sum[0];
  __syncthreads();
  measure((const float *)bits, length[blockIdx.x], out + VALUES * blockIdx.x);
}
