// ItemIndex stores vectors of items by id; its views find the items with the largest inner products with a query.
//
// Rows: an upsert gives an item a new row. A row has the same vector until its item is upserted or removed; later it
// may have another one. So a row is valid for the generation in which it was found: find and read rows on one view, or
// pass their generation (Rows). Store ids, not rows, across writes.
//
// Threads: any number of threads may call any function of an ItemIndex and its copies, which are handles of the same
// index. Every write (upsert, remove, adjust, block, unblock, calibrate, build_lists) publishes a new generation,
// completely or not at all; writes wait for each other. Memory of older generations is reused by a later write, once
// their last view is gone.
//
// Fork: fork() waits for running writes, so that the child gets a complete index. Any thread of the child may read and
// write it. Parent and child do not see each other's writes. For views, see karec/index_view.hpp.
//
// Errors: no function throws; each returns a Status.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "karec/array.hpp"
#include "karec/export.hpp"
#include "karec/index_view.hpp"
#include "karec/status.hpp"

namespace karec {

class KAREC_API ItemIndex {
  public:
    struct BuildOptions {
        // The type of stored vectors: float16 (rounded to nearest, ties to even), float32, or int8 (row / scale rounded
        // to nearest, ties to even; scale = largest |x| of the row / 127).
        DType dtype = DType::float16;
        std::span<const Column> columns;
        // At most kMaxCodeColumns of uint32 codes, which tables of a query look up (CodeTable).
        std::span<const Column> code_columns;
        std::int64_t model_version = 0;
        std::uint64_t space_id = 0;  // of the item tower (ModelVersion); 0: unknown
        // Also stores float32 rows if dtype is int8: a search rescores its best 1.2·k items with them.
        bool rescore = false;
    };

    struct ListOptions {
        std::size_t n_lists = 0;  // 0: 4·√items, at most 65535
        std::uint64_t seed = 0;
    };

    struct OpenOptions {
        // false: sections are not read, so that opening is fast. Header, table, sizes and bounds are checked, and no
        // call reads outside the file. The first upsert, remove or save verifies the id map, O(N). Use false if another
        // process has verified the file.
        bool verify = true;
        // true: the file is read into memory that the index owns, O(file). Later changes to the file have no effect;
        // processes do not share the memory.
        bool copy = false;
    };

    // Builds an index from N unique ids and an (N, D) float32 or float16 matrix, 1 ≤ D ≤ 65536, N < 2^31. All input is
    // copied. invalid_argument: lengths that differ, a repeated id, NaN, infinity, a value that float16 cannot store
    // (|x| ≥ 65520). O(N·D); memory: rows are padded to multiples of 64 bytes, an id takes 29 bytes.
    static Result<ItemIndex> build(std::span<const std::int64_t> ids, MatrixView embeddings,
                                   const BuildOptions& options) noexcept;

    // Maps a file of IndexView::save and verifies every byte (checksums, sizes, the id map, finite numbers): O(file).
    // Writes to the index stay in memory. bad_format: a truncated or altered file, NaN or infinity in vectors, scales
    // or adjustments. io_error: it cannot be read, or is not a regular file.
    //
    // Never write into an open file; replace it, as save() does: after rename(), open indexes still have the old
    // contents. If a mapped file is truncated, the next read there ends the process (SIGBUS); if it is overwritten,
    // results are wrong. Use `copy` for a file that others may write to.
    static Result<ItemIndex> open(const std::string& path, const OpenOptions& options) noexcept;
    static Result<ItemIndex> open(const std::string& path) noexcept { return open(path, OpenOptions{}); }

    // Returns a view of the newest generation, for all reads. Creating and destroying it take some tens of nanoseconds
    // each.
    IndexView pinned() const noexcept { return IndexView(store_); }

    // Inserts items, or replaces their vectors, codes and columns; adjustments, blocks and missing columns stay
    // unchanged. invalid_argument: as build; a column that the index lacks or has in another dtype; a new item without
    // every column; not exactly the code columns of the index; a `space_id` (0: unknown) other than that of the
    // version's vectors: another item tower needs another model version. O(ids·D), and a copy of each 64-KiB page of
    // the id map that changes.
    Status upsert(std::span<const std::int64_t> ids, MatrixView embeddings, std::span<const Column> columns,
                  std::int64_t model_version, std::uint64_t space_id = 0,
                  std::span<const Column> code_columns = {}) noexcept;

    // Replaces inner products with vectors of `model_version` by product·scale + offset, until all are replaced.
    // invalid_argument: a version without vectors, a scale that is not above 0, a value that is not finite.
    Status calibrate(std::int64_t model_version, float scale, float offset) noexcept;

    // Puts all items into lists around centroids, for searches that score a part of the rows (search_all, n_probe).
    // Every item gets another row, in the order of the lists. Later upserts put items into the nearest list. Lists are
    // for vectors of the present model_version(); searches score all others. Call it again after many writes.
    // O(n_lists²·D + N·n_lists·D), with a second copy of the index in memory; other writes wait only for the copying.
    // invalid_argument: more lists than items of that version, or than 65535.
    Status build_lists(const ListOptions& options) noexcept;

    // Each returns the number of ids that are not in the index; those are skipped.
    Result<std::size_t> remove(std::span<const std::int64_t> ids) noexcept;
    Result<std::size_t> block(std::span<const std::int64_t> ids) noexcept;  // searches skip them until unblock
    Result<std::size_t> unblock(std::span<const std::int64_t> ids) noexcept;
    // Replaces scores of ids[i] by score·scales[i] + offsets[i] (finite). An empty span keeps the stored values.
    Result<std::size_t> adjust(std::span<const std::int64_t> ids, std::span<const float> scales,
                               std::span<const float> offsets) noexcept;

  private:
    explicit ItemIndex(std::shared_ptr<GenerationStore> store) noexcept;
    std::shared_ptr<GenerationStore> store_;
};

// The instruction set of the kernels: "generic", "avx2", "avx512", "avx512bf16", "amx", "neon" or "neonbf16". Chosen
// once, best first; the environment variable KAREC_FORCE_ISA names another one that the processor has. Results do not
// depend on it. For "amx" the process requests the permission to use AMX tiles from Linux.
KAREC_API std::string_view active_isa() noexcept;

// Fails if KAREC_FORCE_ISA names a set that this processor lacks; functions that depend on the set fail too.
KAREC_API Status check_isa() noexcept;

}  // namespace karec
