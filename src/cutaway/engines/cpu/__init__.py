"""The compiled CPU engine: GPT-2's whole forward pass in C++17, behind a plain C interface that ctypes loads.

`engine.py` checks what comes from Python and passes the weights on by name, one tensor at a time; `library.py` finds
the library. In `native/`:

- `panels.h`: the layout of matrices in memory; `kernels.h`: the table of functions that is compiled once for every
  instruction set;
- `simd_portable.h`, `simd_avx2.h` (with FMA and F16C), `simd_avx512.h` (with VNNI): sixteen floats, and the int8
  products, of each instruction set; `dots_amx.h`: int8 products of many rows in tile registers (AMX);
  `kernels_*.cpp`: the kernels compiled for one;
- `kernel_float32.inl`, `kernel_int8.inl`: a stored format each, its panels, packing and products; `kernel_*.inl`: all
  other kernels, written once over the instruction sets; `kernels.inl` lists them all;
- `dispatch.cpp`: the best instruction set that this processor can run;
- `forward.cpp`: a ragged batch on its way through the layers; `model.cpp`, `cache.cpp`, `memory.cpp`, `threads.cpp`:
  weights, keys and values, buffers, threads; `api.cpp`: the C interface.

Every product (linear layers, q k, p v) reads panels of 16 outputs and adds the terms of an output in ascending order,
in one chain, whatever is computed beside it. So a row's logits are the same bits in any batch, with any number of
threads, and read at once or token by token.

A matrix carries its format, so a model may mix float32 and int8. With int8, activations are multiplied by the input
scales and quantised in blocks of 32; dot products within a block are exact integers. With `exact=True` the weights are
de-quantised on the fly and activations stay float32. Each row of the cache has a buffer of its own, which grows as the
row fills and is given back when it is emptied. Work is cut into chunks that threads take as they come; a thread that
finds none spins for 0.1 ms and then sleeps.
"""
