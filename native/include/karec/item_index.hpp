// The item index: works' vectors by id, and the inner product of a query with them.
//
// No function throws; each says with a Status what it refuses.
//
// Threads: any function may run in any number of threads at once, on one ItemIndex and on its copies, which are handles
// of the same index. Every write (upsert, remove, adjust, block, unblock) publishes one new generation, whole or not at
// all; writes wait for each other. A read sees one generation: pinned() holds it for as many calls as the caller likes
// (karec/index_view.hpp), and each reading function of ItemIndex is the one of IndexView on a fresh pin. Memory of
// older generations is used again when their last view is gone and a write follows.
//
// Fork: it waits for a write that another thread has begun, so that the child gets a whole index. There, any thread may
// read and write it; parent and child do not see each other's writes. For views, see karec/index_view.hpp.
//
// Rows: an upsert gives a work a new row. A row holds the same vector until its work is upserted or removed; later it
// may hold another. So rows are valid for the generation that they were found in: find and read them on one view, or
// say their generation (Rows), and across writes keep ids.
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
        // How vectors are stored: float16 (rounded to nearest, ties to even), float32, or int8 (row / scale rounded to
        // nearest even, scale = largest |x| of the row / 127).
        DType dtype = DType::float16;
        std::span<const Column> columns;
        std::int64_t model_version = 0;
        std::uint64_t space_id = 0;  // of the item tower (ModelVersion); 0 = not known
        // Keeps float32 rows beside int8 ones: the best 1.2·k of a search are scored again from them, and ranked by
        // that.
        bool rescore = false;
    };

    struct ListOptions {
        std::size_t n_lists = 0;  // 0: 4·√works, and not more than 65535
        std::uint64_t seed = 0;
    };

    struct OpenOptions {
        // false: contents are not read, so that opening takes no time; header, table, sizes and bounds are still
        // checked, and no call reads outside the file whatever it holds. The first upsert, remove or save verifies the
        // id map, O(N). For a process beside one that did verify.
        bool verify = true;
        // true: the file is read into memory that the index owns, O(file) in time and memory. What happens to the file
        // afterwards does not show; processes do not share the memory.
        bool copy = false;
    };

    // From N unique ids and an (N, D) float32 or float16 matrix, 1 ≤ D ≤ 65536, N < 2^31. Everything is copied.
    // Refuses: lengths that differ, a repeated id, NaN, infinity, a value that float16 cannot hold (|x| ≥ 65520).
    // O(N·D); memory: a row is padded to a multiple of 64 bytes, an id costs 29 bytes, an adjusted index 8 a row.
    static Result<ItemIndex> build(std::span<const std::int64_t> ids, MatrixView embeddings,
                                   const BuildOptions& options) noexcept;

    // Maps a file that save() wrote and verifies every byte of it (checksums, sizes, the id map): O(file). Writes to
    // an opened index stay in memory. Refuses with bad_format a file that is cut off, altered or laid out in another
    // way than save() does; with io_error what is not a regular file, a FIFO for example. Numbers in a section of the
    // right checksum are not checked further.
    //
    // Never write into a file that is open somewhere; replace it by another one, as save() does: rename() leaves the
    // old contents to those who have it open. A mapped file that is shortened ends the process at its next read there
    // (SIGBUS), and one that is overwritten gives wrong results or wrong memory accesses. Where others may write to the
    // file, open it with `copy`.
    static Result<ItemIndex> open(const std::string& path, const OpenOptions& options) noexcept;
    static Result<ItemIndex> open(const std::string& path) noexcept { return open(path, OpenOptions{}); }

    // The newest generation, held. Cost: some tens of nanoseconds, and the same again when the view goes.
    IndexView pinned() const noexcept { return IndexView(store_); }

    // Inserts works, or replaces their vectors and columns; adjustment and block stay, and so do the columns that are
    // not given. Refuses what build refuses, a column that the index has not or has in another dtype, and a new work
    // without every column; and a `space_id` (0 = not said) other than the one that the version's vectors have: vectors
    // of another item tower need another model version. O(ids·D), and a copy of each 64-KiB page of the id map that
    // changes.
    Status upsert(std::span<const std::int64_t> ids, MatrixView embeddings, std::span<const Column> columns,
                  std::int64_t model_version, std::uint64_t space_id = 0) noexcept;

    // From the next generation on, inner products with vectors of `model_version` become product·scale + offset. Kept
    // until another version takes its place. Refuses a version that no vector is of, a scale that is not above 0, and
    // what is not finite.
    Status calibrate(std::int64_t model_version, float scale, float offset) noexcept;

    // Puts all works into lists around centroids, for searches that score a part of the rows (search_all, n_probe).
    // Every work gets another row, in the order of the lists, so that a list is read like a scan. Later upserts put
    // works into the nearest list; lists serve vectors of the present model_version(), others are scored by every
    // search. May be called again, when much was written since. O(n_lists²·D + N·n_lists·D), and memory of a second
    // copy meanwhile; other writes wait for the copying, not for the rest. Refuses more lists than works of that
    // version, or than 65535.
    Status build_lists(const ListOptions& options) noexcept;

    // Each returns how many ids the index does not know; those are skipped.
    Result<std::size_t> remove(std::span<const std::int64_t> ids) noexcept;
    Result<std::size_t> block(std::span<const std::int64_t> ids) noexcept;  // searches skip them until unblock
    Result<std::size_t> unblock(std::span<const std::int64_t> ids) noexcept;
    // scales[i], offsets[i] (finite) for ids[i]; an empty span leaves that half as it is.
    Result<std::size_t> adjust(std::span<const std::int64_t> ids, std::span<const float> scales,
                               std::span<const float> offsets) noexcept;

    // The functions of IndexView (karec/index_view.hpp), each on a fresh pin.
    std::size_t size() const noexcept { return pinned().size(); }
    std::size_t n_rows() const noexcept { return pinned().n_rows(); }
    std::size_t dim() const noexcept { return pinned().dim(); }
    DType dtype() const noexcept { return pinned().dtype(); }
    bool rescores() const noexcept { return pinned().rescores(); }
    std::int64_t model_version() const noexcept { return pinned().model_version(); }
    Result<std::vector<std::int64_t>> model_versions() const noexcept { return pinned().model_versions(); }
    Result<std::vector<ModelVersion>> versions() const noexcept { return pinned().versions(); }
    std::uint64_t generation() const noexcept { return pinned().generation(); }
    std::size_t n_lists() const noexcept { return pinned().n_lists(); }
    std::size_t bytes() const noexcept { return pinned().bytes(); }
    Result<std::vector<ColumnType>> column_types() const noexcept { return pinned().column_types(); }
    Result<DType> column_dtype(std::string_view name) const noexcept { return pinned().column_dtype(name); }
    Result<std::shared_ptr<const IndexTable>> table() const noexcept { return pinned().table(); }
    Status save(const std::string& path) const noexcept { return pinned().save(path); }
    Status lookup(std::span<const std::int64_t> ids, std::span<std::int32_t> rows) const noexcept {
        return pinned().lookup(ids, rows);
    }
    Result<SearchCount> scores(const Query& query, const Candidates& candidates, std::span<float> out) const noexcept {
        return pinned().scores(query, candidates, out);
    }
    Result<SearchCount> search(const Query& query, const Candidates& candidates, const Ranked& out) const noexcept {
        return pinned().search(query, candidates, out);
    }
    // A mask made before another write may find other works in rows that were used again: make it on a view.
    Status search_all(std::span<const Query> queries, std::span<const std::uint8_t> mask, const Ranked& out,
                      std::span<SearchCount> counts, std::size_t n_probe = kEveryRow) const noexcept {
        return pinned().search_all(queries, mask, out, counts, n_probe);
    }
    Result<DppCount> dpp_select(const Rows& rows, std::span<const float> relevance, const DppOptions& options,
                                std::span<std::int64_t> indices, std::span<double> gains) const noexcept {
        return pinned().dpp_select(rows, relevance, options, indices, gains);
    }
    Status gather(const Rows& rows, std::span<float> out) const noexcept { return pinned().gather(rows, out); }
    Status gather_column(std::string_view name, const Rows& rows, std::span<std::byte> out) const noexcept {
        return pinned().gather_column(name, rows, out);
    }
    Status gather_model_versions(const Rows& rows, std::span<std::int64_t> out) const noexcept {
        return pinned().gather_model_versions(rows, out);
    }

  private:
    explicit ItemIndex(std::shared_ptr<GenerationStore> store) noexcept;
    std::shared_ptr<GenerationStore> store_;
};

// The instruction set of the kernels: "generic", "avx2", "avx512", "avx512bf16", "amx", "neon" or "neonbf16". Chosen
// once, best first; the environment variable KAREC_FORCE_ISA names another one that the machine has. Results do not
// depend on it. If "amx" is chosen, Linux is asked for AMX's tiles, for the whole process.
KAREC_API std::string_view active_isa() noexcept;

// Not ok where KAREC_FORCE_ISA names a set that this machine lacks; build and open refuse then.
KAREC_API Status check_isa() noexcept;

}  // namespace karec
