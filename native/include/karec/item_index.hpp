// The item index: works' vectors by id, and the inner product of a query with them.
//
// An ItemIndex never changes after build or open, and copies share its memory: every const function may run in any
// number of threads at once. No function throws; each says with a Status what it refuses. Wherever results are ranked,
// they are ordered by score, largest first, and equal scores by position in the input, lowest first.
//
// Scores are float32 and the same bits on every machine: the products of dimensions d ≡ j (mod 16) are added up in
// order for each j, and the 16 sums are added in a fixed tree (see src/isa/inner_loops.hpp). A score that overflows to
// NaN counts as −inf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "karec/array.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::int32_t kUnknownRow = -1;

// One value per row, for example the creator of each work; `bytes` holds size() elements of `dtype`, little-endian.
struct Column {
    std::string_view name;
    DType dtype;
    std::span<const std::byte> bytes;
};

// Where a ranked result goes: four arrays of one length, owned by the caller. `positions` are places in the input
// list (for a scan of all rows: the row itself).
struct Ranked {
    std::span<float> scores;
    std::span<std::int64_t> ids;
    std::span<std::int32_t> rows;
    std::span<std::int64_t> positions;
};

struct SearchCount {
    std::size_t found = 0;    // how many entries of Ranked were written
    std::size_t unknown = 0;  // how many inputs the index does not know; they were skipped
};

class ItemIndex {
  public:
    struct BuildOptions {
        DType dtype = DType::float16;  // how vectors are stored: float16 (rounded to nearest, ties to even) or float32
        std::span<const Column> columns;
        std::int64_t model_version = 0;
    };

    // From N unique ids and an (N, D) float32 or float16 matrix, 1 ≤ D ≤ 65536, N < 2^31. Everything is copied.
    // Refuses: lengths that differ, a repeated id, NaN, infinity, a value that float16 cannot hold (|x| ≥ 65520).
    // O(N·D); memory: a row is padded to a multiple of 64 bytes, and an id costs 29 bytes.
    static Result<ItemIndex> build(std::span<const std::int64_t> ids, MatrixView embeddings,
                                   const BuildOptions& options) noexcept;

    // Maps a file that save() wrote and verifies every byte of it (checksums, sizes, the id map): O(file).
    // Refuses with bad_format whatever save() could not have written.
    static Result<ItemIndex> open(const std::string& path) noexcept;

    // Writes beside `path`, syncs, renames over it, syncs the folder: a reader of `path` sees the old file or the new
    // one.
    Status save(const std::string& path) const noexcept;

    std::size_t size() const noexcept;
    std::size_t dim() const noexcept;
    DType dtype() const noexcept;
    std::int64_t model_version() const noexcept;
    std::uint64_t generation() const noexcept;  // names the contents that a search saw; 1 after build
    std::span<const std::int64_t> ids() const noexcept;
    std::span<const Column> columns() const noexcept;

    // rows[i] = the row of ids[i], kUnknownRow if there is none. Expected O(1) an id, in batches that overlap misses.
    Status lookup(std::span<const std::int64_t> ids, std::span<std::int32_t> rows) const noexcept;

    // out[i] = ⟨query, row rows[i]⟩; −inf for kUnknownRow. Refuses rows outside [−1, N), naming the first.
    Status scores(std::span<const float> query, std::span<const std::int32_t> rows,
                  std::span<float> out) const noexcept;

    // The best out.scores.size() of `rows` (fewer if there are not so many known rows). O(len(rows)·D).
    Result<SearchCount> search(std::span<const float> query, std::span<const std::int32_t> rows,
                               const Ranked& out) const noexcept;

    // The same over all rows, for `n_queries` queries (n_queries·D floats) in one pass. `mask` is empty or holds N
    // bytes, 0 = leave the row out. `out` holds n_queries consecutive lists of equal length; a list with fewer results
    // ends in score −inf and id, row, position −1. `found` (n_queries) counts each list's results. O(n_queries·N·D).
    Status search_all(std::span<const float> queries, std::size_t n_queries, std::span<const std::uint8_t> mask,
                      const Ranked& out, std::span<std::size_t> found) const noexcept;

    // out (len(rows), D) = the vectors as float32; zeros for kUnknownRow.
    Status gather(std::span<const std::int32_t> rows, std::span<float> out) const noexcept;

  private:
    struct Store;
    explicit ItemIndex(std::shared_ptr<const Store> store) noexcept;
    std::shared_ptr<const Store> store_;
};

// The instruction set that the inner loops run on: "generic", "avx2" or "avx512". Chosen once, best first; the
// environment variable KAREC_FORCE_ISA names another one that the machine has. Results do not depend on it.
std::string_view active_isa() noexcept;

}  // namespace karec
