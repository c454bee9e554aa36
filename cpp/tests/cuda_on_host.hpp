// Enough of CUDA C++ to run one kernel on the host as it is written: a block's threads are threads, barriers wait.
// Include it before the kernel's source.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#define __global__
#define __shared__ static  // blocks run one after another

struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
};

namespace cuda_on_host {

class Barrier {
 public:
  explicit Barrier(unsigned count) : count_(count) {}

  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const unsigned round = round_;
    if (++waiting_ == count_) {
      waiting_ = 0;
      ++round_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return round != round_; });
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned count_;
  unsigned waiting_ = 0;
  unsigned round_ = 0;
};

inline thread_local Dim3 thread;
inline thread_local Dim3 block;
inline Dim3 block_size;
inline Barrier* barrier = nullptr;
inline std::mutex atomics;

// Calls `kernel` once for every thread of the grid.
template <class Kernel>
void launch(Dim3 grid, Dim3 size, const Kernel& kernel) {
  block_size = size;
  Barrier all(size.x * size.y);
  barrier = &all;
  std::vector<std::thread> threads;
  for (unsigned y = 0; y < size.y; ++y) {
    for (unsigned x = 0; x < size.x; ++x) {
      threads.emplace_back([=, &all, &kernel] {
        thread = {x, y};
        for (unsigned row = 0; row < grid.y; ++row) {
          for (unsigned column = 0; column < grid.x; ++column) {
            block = {column, row};
            kernel();
            all.wait();
          }
        }
      });
    }
  }
  for (std::thread& each : threads) each.join();
}

}  // namespace cuda_on_host

#define threadIdx cuda_on_host::thread
#define blockIdx cuda_on_host::block
#define blockDim cuda_on_host::block_size

inline void __syncthreads() { cuda_on_host::barrier->wait(); }

inline int atomicMax(int* at, int value) {
  const std::lock_guard<std::mutex> lock(cuda_on_host::atomics);
  const int old = *at;
  if (value > old) *at = value;
  return old;
}
