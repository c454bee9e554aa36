// A crop on an NVIDIA GPU: one thread for each output pixel, which computes what crop.hpp says.
#include "crop.hpp"

// planes: float32 RGB (3, size, size). ends: six numbers, zero before; for each channel 255 - its least and its largest
// value, over the output pixels made of frame pixels alone. The grid covers the output, whatever the blocks' size.
extern "C" __global__ void edgetrack_crop(const edgetrack::CropTask task, float* planes, int* ends) {
  __shared__ int block_ends[6];
  const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  if (thread < 6) block_ends[thread] = 0;
  __syncthreads();
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int row = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (column < task.size && row < task.size) {
    unsigned char rgb[3];
    const bool is_real = edgetrack::kernels::crop_pixel(task, column, row, rgb);
    edgetrack::kernels::write_pixel(task, column, row, rgb, planes);
    if (is_real) {
      for (int channel = 0; channel < 3; ++channel) {
        atomicMax(&block_ends[2 * channel], 255 - rgb[channel]);
        atomicMax(&block_ends[2 * channel + 1], static_cast<int>(rgb[channel]));
      }
    }
  }
  __syncthreads();
  if (thread < 6) atomicMax(&ends[thread], block_ends[thread]);
}
