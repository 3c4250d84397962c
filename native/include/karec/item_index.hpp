// The item index: works' vectors by id, and the inner product of a query with them.
//
// No function throws; each says with a Status what it refuses. Wherever results are ranked, they are ordered by score,
// largest first, and equal scores by position in the input, lowest first.
//
// Threads: any function may run in any number of threads at once, on one ItemIndex and on its copies, which are handles
// of the same index. Every write (upsert, remove, adjust, block, unblock) publishes one new generation, whole or not at
// all; writes wait for each other. Every read pins the newest generation at its start and reads that one to its end:
// it waits for no write, and no write waits for it. Memory of older generations is reused when their last reader has
// ended.
//
// What a call reads (ids, rows, queries, masks) must not change until it returns: else its results are void, though it
// touches no memory outside the index.
//
// Rows: an upsert gives a work a new row. A row holds the same vector until its work is upserted or removed; later it
// may hold another. So rows are valid for the generation that they were found in; across writes, keep ids.
//
// Scores are float32 and the same bits on every machine: the products of dimensions d ≡ j (mod 16) are added up in
// order for each j, and the 16 sums are added in a fixed tree (see src/kernels/scoring_loops.inc). int8 rows meet a
// query rounded to integers, whose sums are exact (see src/index/row_format.hpp). The work's adjustment comes last:
// score·scale + offset. A score that overflows to NaN counts as −inf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "karec/array.hpp"
#include "karec/dpp.hpp"
#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::int32_t kUnknownRow = -1;

// One value per row, for example the creator of each work; `bytes` holds size() elements of `dtype`, little-endian.
struct Column {
    std::string_view name;
    DType dtype;
    std::span<const std::byte> bytes;
};

struct ColumnType {
    std::string name;
    DType dtype;
};

// The output of a search: four arrays of one length, owned by the caller. `positions` are indices of the input list
// (for a scan of all rows: the row itself).
struct Ranked {
    std::span<float> scores;
    std::span<std::int64_t> ids;
    std::span<std::int32_t> rows;
    std::span<std::int64_t> positions;
};

struct SearchCount {
    std::size_t found = 0;         // how many entries of Ranked were written
    std::size_t unknown = 0;       // inputs skipped: not in the index, or of a model version without a query
    std::size_t blocked = 0;       // inputs skipped: blocked
    std::uint64_t generation = 0;  // what the search saw
};

// Applied to a work's inner product: score·scale + offset.
struct Adjustment {
    float scale = 1.0f;
    float offset = 0.0f;
    bool operator==(const Adjustment&) const = default;
};

struct VersionQuery {
    std::int64_t model_version;
    std::span<const float> values;
};

// One query of D values, or during a refresh one for each model version: a row is scored by the query of its version.
struct Query {
    Query(std::span<const float> one) : values(one) {}
    Query(const std::vector<float>& one) : values(one) {}
    Query(std::span<const VersionQuery> each) : by_version(each) {}
    std::span<const float> values;
    std::span<const VersionQuery> by_version;
};

// Works by id, or by row. Unknown ids, and rows of kUnknownRow or of removed works, are skipped and counted.
struct Candidates {
    static Candidates of_ids(std::span<const std::int64_t> ids) { return {ids, {}}; }
    static Candidates of_rows(std::span<const std::int32_t> rows) { return {{}, rows}; }
    std::size_t size() const noexcept { return ids.size() + rows.size(); }  // one of the two is empty
    std::span<const std::int64_t> ids;
    std::span<const std::int32_t> rows;
};

// Ids and columns by row, of one generation. Where a work was removed or replaced, `present` is 0 and the rest void.
struct IndexTable {
    std::uint64_t generation = 0;
    std::span<const std::int64_t> ids;
    std::span<const Column> columns;
    std::span<const std::uint8_t> present;  // empty: every row holds a work
};

class KAREC_API ItemIndex {
  public:
    struct BuildOptions {
        // How vectors are stored: float16 (rounded to nearest, ties to even), float32, or int8 (row / scale rounded to
        // nearest even, scale = largest |x| of the row / 127).
        DType dtype = DType::float16;
        std::span<const Column> columns;
        std::int64_t model_version = 0;
        // Keeps float32 rows beside int8 ones: the best 1.2·k of a search are scored again from them, and ranked by
        // that.
        bool rescore = false;
    };

    struct OpenOptions {
        // false: contents are not read, so that opening takes no time; header, table, sizes and bounds are still
        // checked, and no call reads outside the file whatever it holds. The first upsert, remove or save verifies the
        // id map, O(N). For a process beside one that did verify.
        bool verify = true;
    };

    // From N unique ids and an (N, D) float32 or float16 matrix, 1 ≤ D ≤ 65536, N < 2^31. Everything is copied.
    // Refuses: lengths that differ, a repeated id, NaN, infinity, a value that float16 cannot hold (|x| ≥ 65520).
    // O(N·D); memory: a row is padded to a multiple of 64 bytes, an id costs 29 bytes, an adjusted index 8 a row.
    static Result<ItemIndex> build(std::span<const std::int64_t> ids, MatrixView embeddings,
                                   const BuildOptions& options) noexcept;

    // Maps a file that save() wrote and verifies every byte of it (checksums, sizes, the id map): O(file). Writes to
    // an opened index stay in memory. Refuses with bad_format a file that is cut off, altered or laid out in another
    // way than save() does. Numbers in a section of the right checksum are not checked further.
    static Result<ItemIndex> open(const std::string& path, const OpenOptions& options) noexcept;
    static Result<ItemIndex> open(const std::string& path) noexcept { return open(path, OpenOptions{}); }

    // Writes beside `path`, syncs, renames over it, syncs the folder: a reader of `path` sees the old file or the new
    // one. Rows of removed works are left out, so that the rows behind them move up; the generation is kept.
    Status save(const std::string& path) const noexcept;

    std::size_t size() const noexcept;    // works
    std::size_t n_rows() const noexcept;  // rows, with those of removed works: every row is below
    std::size_t dim() const noexcept;
    DType dtype() const noexcept;
    bool rescores() const noexcept;
    std::int64_t model_version() const noexcept;                        // of the newest vectors
    Result<std::vector<std::int64_t>> model_versions() const noexcept;  // of all vectors, ascending
    std::uint64_t generation() const noexcept;  // names the contents that a search saw; 1 after build, + 1 a write
    std::size_t bytes() const noexcept;         // memory of everything that grows with the works, mapped or owned

    Result<std::vector<ColumnType>> column_types() const noexcept;  // in the index's order

    // Ids and columns: the file's memory while an opened index is unchanged; after a write, or of a built index, a
    // copy: O(N).
    Result<std::shared_ptr<const IndexTable>> table() const noexcept;

    // Inserts works, or replaces their vectors and columns; adjustment and block stay. Takes every column that the
    // index has. Refuses what build refuses. O(ids·D), and a copy of each 64-KiB page of the id map that changes.
    Status upsert(std::span<const std::int64_t> ids, MatrixView embeddings, std::span<const Column> columns,
                  std::int64_t model_version) noexcept;

    // Each returns how many ids the index does not know; those are skipped.
    Result<std::size_t> remove(std::span<const std::int64_t> ids) noexcept;
    Result<std::size_t> block(std::span<const std::int64_t> ids) noexcept;  // searches skip them until unblock
    Result<std::size_t> unblock(std::span<const std::int64_t> ids) noexcept;
    // scales[i], offsets[i] (finite) for ids[i]; an empty span leaves that half as it is.
    Result<std::size_t> adjust(std::span<const std::int64_t> ids, std::span<const float> scales,
                               std::span<const float> offsets) noexcept;

    // rows[i] = the row of ids[i], kUnknownRow if there is none. Expected O(1) an id, in batches that overlap misses.
    Status lookup(std::span<const std::int64_t> ids, std::span<std::int32_t> rows) const noexcept;

    // out[i] = the adjusted score of candidate i; −inf where a search would skip it. int8 rows are not rescored.
    // Refuses rows outside [−1, n_rows), naming the first.
    Result<SearchCount> scores(const Query& query, const Candidates& candidates, std::span<float> out) const noexcept;

    // The best out.scores.size() of the candidates (fewer if not so many can be scored). O(len(candidates)·D).
    // Refuses one query where the index has vectors of several model versions.
    Result<SearchCount> search(const Query& query, const Candidates& candidates, const Ranked& out) const noexcept;

    // The same for several users in one call and one generation: query u over the candidates indptr[u] …
    // indptr[u + 1] − 1. Positions count from indptr[u]. `out` holds len(queries) consecutive lists of equal
    // length; a list with fewer results ends in score −inf and id, row, position −1. `counts` has one entry a user.
    Status search_batch(std::span<const Query> queries, const Candidates& candidates,
                        std::span<const std::int64_t> indptr, const Ranked& out,
                        std::span<SearchCount> counts) const noexcept;

    // The same over all rows, for several queries in one pass. `mask` is empty or holds n_rows() bytes, 0 = leave
    // the row out. What the mask leaves out is not counted. O(queries·N·D).
    Status search_all(std::span<const Query> queries, std::span<const std::uint8_t> mask, const Ranked& out,
                      std::span<SearchCount> counts) const noexcept;

    // dpp_select (karec/dpp.hpp) among the works of `rows` (N,), with relevance (N,): the result indexes `rows`.
    // Vectors are read in place, in one generation, with the values that gather() gives. Refuses also a row that holds
    // no work (kUnknownRow, or removed), naming the first.
    Result<DppCount> dpp_select(std::span<const std::int32_t> rows, std::span<const float> relevance,
                                const DppOptions& options, std::span<std::int64_t> indices,
                                std::span<double> gains) const noexcept;

    // out (len(rows), D) = the vectors as float32 (from the float32 rows, where there are some); zeros for kUnknownRow.
    Status gather(std::span<const std::int32_t> rows, std::span<float> out) const noexcept;

    // out (len(rows) elements of column_dtype(name)) = the column's value in each row; zeros for kUnknownRow and for
    // rows of removed works. Refuses a name that no column has. O(rows).
    Status gather_column(std::string_view name, std::span<const std::int32_t> rows,
                         std::span<std::byte> out) const noexcept;
    Result<DType> column_dtype(std::string_view name) const noexcept;

  private:
    struct Store;
    friend class IndexPin;
    explicit ItemIndex(std::shared_ptr<Store> store) noexcept;
    std::shared_ptr<Store> store_;
};

// The instruction set of the kernels: "generic", "avx2" or "avx512". Chosen once, best first; the
// environment variable KAREC_FORCE_ISA names another one that the machine has. Results do not depend on it.
KAREC_API std::string_view active_isa() noexcept;

// Not ok where KAREC_FORCE_ISA names a set that this machine lacks; build and open refuse then.
KAREC_API Status check_isa() noexcept;

}  // namespace karec
