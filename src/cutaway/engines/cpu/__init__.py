"""The compiled CPU engine: GPT-2's whole forward pass in C++17, with a plain C interface that ctypes loads.

`engine.py` validates arguments and passes on the weights by name, one tensor at a time; `library.py` loads the library.
In `native/`:

- `panels.h`: the layout of matrices in memory; `kernels.h`: the table of functions that is compiled once per
  instruction set;
- `simd_portable.h`, `simd_avx2.h` (with FMA and F16C), `simd_avx512.h` (with VNNI): vectors of sixteen floats, and int8
  dot products, for each instruction set; `dots_amx.h`: int8 dot products of many rows in tile registers (AMX);
  `kernels_*.cpp`: the kernels compiled for one instruction set;
- `kernel_float32.inl`, `kernel_int8.inl`: the stored formats, each with its panels, packing and products;
  `kernel_*.inl`: all other kernels, written once for all instruction sets; `kernels.inl` includes them all;
- `dispatch.cpp`: selects the best instruction set that this processor can run;
- `forward.cpp`: the forward pass of a ragged batch; `model.cpp`, `cache.cpp`, `memory.cpp`, `threads.cpp`: weights, KV
  cache, buffers, threads; `api.cpp`: the C interface.

Every matrix product (linear layers, q k, p v) reads panels of 16 outputs and adds the terms of an output one after the
other, in ascending order, independent of other outputs. So a row's logits are the same bits in any batch, with any
number of threads, and whether its tokens are read at once or one by one.

A matrix carries its format, so a model may mix float32 and int8. With int8, activations are multiplied by the input
scales and quantised in blocks of 32; dot products within a block are exact integers. With `exact=True`, weights are
de-quantised on the fly and activations stay float32. Each row of the cache has its own buffer, which grows as the row
fills and is freed when the row is emptied. Work is divided into chunks, which threads take dynamically; an idle thread
spins for 0.1 ms and then sleeps.
"""
