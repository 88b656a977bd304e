/* Partial statistics of pieces of float32 arrays in a GPU's memory, accumulated in double; gpu.py adds them up.
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

extern "C" __global__ void partials(const unsigned long long *start, const long long *length, double *out) {
  __shared__ double value[VALUES][THREADS];
  const float *x = (const float *)start[blockIdx.x];
  const unsigned int thread = threadIdx.x;
  double squares = 0, magnitudes = 0, zeros = 0, nonfinite = 0;
  float largest = 0, low = INFINITY, high = -INFINITY;
  for (long long i = thread; i < length[blockIdx.x]; i += THREADS) {
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
    for (int k = 0; k < VALUES; ++k) out[VALUES * blockIdx.x + k] = value[k][0];
  }
}
