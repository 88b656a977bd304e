// Runs moments.cu on a machine without a GPU: the threads of a block are threads of the host, one block after the other.
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

struct Index {
  unsigned int x;
};

static thread_local Index threadIdx, blockIdx;
static std::barrier<> *block;

static void __syncthreads() { block->arrive_and_wait(); }

using std::fabs;
#include "moments.cu"

// Calls `kernel` in all threads of each block.
template <typename Kernel> static void run(unsigned int blocks, Kernel kernel) {
  std::barrier<> together(THREADS);
  block = &together;
  std::vector<std::thread> threads;
  for (unsigned int thread = 0; thread < THREADS; ++thread) {
    threads.emplace_back([=] {
      threadIdx.x = thread;
      for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        kernel();
        __syncthreads();
      }
    });
  }
  for (auto &thread : threads) thread.join();
}

extern "C" void launch_partials(unsigned int blocks, const Bits64 *start, const long long *length, double *out) {
  run(blocks, [=] { partials(start, length, out); });
}

extern "C" void launch_weights(unsigned int blocks, const Bits64 *start, const long long *length,
                               const Bits64 *position, double *out, Bits64 *digest) {
  run(blocks, [=] { weights(start, length, position, out, digest); });
}
