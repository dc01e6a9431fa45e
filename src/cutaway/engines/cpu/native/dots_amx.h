// int8 dot products with AMX: one tile register holds the rows, another the weights, and a third receives all sums at once. They
// are exact integers here too, so the results are the same bits.

#pragma once

#include <type_traits>

#include "dots_in_registers.h"

namespace cutaway {
namespace {

constexpr int kDotRows = 16;        // of a tile register
constexpr int kFewestTileRows = 7;  // fewer are faster in ordinary vector registers

// The shapes of all tile registers, as the instruction LDTILECFG reads them.
struct alignas(64) Shapes {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

// Even blocks are multiplied in tile registers 0 (sums), 2 (activations) and 4 (weights), odd blocks in 1, 3 and 5, as a pipeline:
// while one product starts, the previous one is stored, and the one before that is read.
template <int M>
class DotsInTiles {
  public:
    // Configures the tile registers for the lifetime of the object.
    class Setup {
      public:
        Setup() {
            Shapes shapes;
            for (int i = 0; i < 2; i++) {
                set(shapes, i, M, 4 * kLanes);
                set(shapes, 2 + i, M, kBlock);
                set(shapes, 4 + i, kBlock / 4, 4 * kLanes);
            }
            __asm__ volatile("" : : "r"(&shapes) : "memory");  // GCC 12 assumes that only the first bytes are read
            _tile_loadconfig(&shapes);
        }
        ~Setup() { _tile_release(); }

      private:
        static void set(Shapes& shapes, int tile, int rows, int row_bytes) {
            shapes.rows[tile] = rows;
            shapes.row_bytes[tile] = row_bytes;
        }
    };

    DotsInTiles(const Int8Block* blocks, int count, QuantisedRows x) : blocks_(blocks), count_(count), x_(x) {
        multiply<0>(0);
        keep<0>(0);
        if (count > 1) multiply<1>(1);
    }

    void compute(int b) {
        if (b % 2 == 0) compute<0>(b);
        else compute<1>(b);
        block_ = b;
    }

    Vec operator[](int m) const { return {_mm512_cvtepi32_ps(_mm512_load_si512(sums_[block_ % 2][m]))}; }

  private:
    template <int Odd>
    void compute(int b) {
        if (b + 2 < count_) multiply<Odd>(b + 2);
        if (b + 1 < count_) keep<1 - Odd>(b + 1);
    }

    template <int Odd>
    void multiply(int b) {
        const Quantised* rows = static_cast<const Quantised*>(x_.values) + b * kBlock;
        const auto& weights = blocks_[b].values;
        if constexpr (!Odd) {
            _tile_zero(0);
            _tile_loadd(2, rows, x_.stride);
            _tile_loadd(4, weights, sizeof(weights[0]));
            _tile_dpbssd(0, 2, 4);
        } else {
            _tile_zero(1);
            _tile_loadd(3, rows, x_.stride);
            _tile_loadd(5, weights, sizeof(weights[0]));
            _tile_dpbssd(1, 3, 5);
        }
    }

    template <int Odd>
    void keep(int b) {
        if constexpr (!Odd) _tile_stored(0, sums_[b % 2], sizeof(sums_[0][0]));
        else _tile_stored(1, sums_[b % 2], sizeof(sums_[0][0]));
    }

    const Int8Block* blocks_;
    int count_;
    QuantisedRows x_;
    int block_ = 0;
    alignas(64) int32_t sums_[2][M][kLanes];
};

template <int M>
using Dots = std::conditional_t<M >= kFewestTileRows, DotsInTiles<M>, DotsInRegisters<M>>;

}  // namespace
}  // namespace cutaway
