// Runs moments.cu on a machine without a GPU: the threads of a block are threads of the host, one block after the other.
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>

#define __global__
#define __shared__ static

struct Index {
  unsigned int x;
};

static thread_local Index threadIdx, blockIdx;
static std::barrier<> *block;

static void __syncthreads() { block->arrive_and_wait(); }

using std::fabs;
#include "moments.cu"

extern "C" void launch(unsigned int blocks, const unsigned long long *start, const long long *length, double *out) {
  std::barrier<> together(THREADS);
  block = &together;
  std::vector<std::thread> threads;
  for (unsigned int thread = 0; thread < THREADS; ++thread) {
    threads.emplace_back([=] {
      threadIdx.x = thread;
      for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        partials(start, length, out);
        __syncthreads();
      }
    });
  }
  for (auto &thread : threads) thread.join();
}
