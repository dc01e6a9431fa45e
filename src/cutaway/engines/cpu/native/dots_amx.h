// The same dot products by AMX: a tile register holds the rows, another the weights, and a third gets all sums at once. They are
// exact integers here too, so the results are the same bits.

#pragma once

#include <type_traits>

#include "dots_in_registers.h"

namespace cutaway {
namespace {

constexpr int kDotRows = 16;        // of a tile register
constexpr int kFewestTileRows = 9;  // fewer are faster in the other registers

// The shapes of all tile registers, as the instruction LDTILECFG reads them.
struct alignas(64) Shapes {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

// Tile register 0 has the sums, 1 the activations, 2 the weights. They work on a block while the sums of the one before are read.
template <int M>
class DotsInTiles {
  public:
    // Gives the tile registers their shapes, for as long as it lives.
    class Setup {
      public:
        Setup() {
            Shapes shapes;
            set(shapes, 0, M, 4 * kLanes);
            set(shapes, 1, M, kBlock);
            set(shapes, 2, kBlock / 4, 4 * kLanes);
            __asm__ volatile("" : : "r"(&shapes) : "memory");  // GCC 12 believes that only the first bytes are read
            _tile_loadconfig(&shapes);
        }
        ~Setup() { _tile_release(); }

      private:
        static void set(Shapes& shapes, int tile, int rows, int row_bytes) {
            shapes.rows[tile] = rows;
            shapes.row_bytes[tile] = row_bytes;
        }
    };

    DotsInTiles(const Int8Block* blocks, int count, QuantisedRows x) : blocks_(blocks), count_(count), x_(x) { start(0); }

    void compute(int b) {
        if (b + 1 < count_) start(b + 1);
        block_ = b;
    }

    Vec operator[](int m) const { return {_mm512_cvtepi32_ps(_mm512_load_si512(sums_[block_ % 2][m]))}; }

  private:
    void start(int b) {
        _tile_zero(0);
        _tile_loadd(1, static_cast<const Quantised*>(x_.values) + b * kBlock, x_.stride);
        _tile_loadd(2, blocks_[b].values, sizeof(blocks_[b].values[0]));
        _tile_dpbssd(0, 1, 2);
        _tile_stored(0, sums_[b % 2], sizeof(sums_[0][0]));
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
