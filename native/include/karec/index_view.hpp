// IndexView reads one pinned generation of an item index.
//
//   const karec::IndexView view = index.pinned();
//   std::vector<std::int32_t> rows(ids.size());
//   view.lookup(ids, rows);                                              // rows of this generation,
//   view.gather_column("creator_id", {rows, view.generation()}, bytes);  // valid while the view lives
//
// A view reads one generation, even if later writes publish newer ones. Views and writes do not wait for each other. A
// view keeps the index and the memory of its generation alive: replaced rows are not reused while it exists. Hold a
// view for one request, not for hours.
//
// Threads: any number of threads may call any function of a view. Any thread may destroy it, after the last call.
//
// Fork: the child can use views of the forking thread. Views of other threads return `unavailable` in the child from
// every call that reads items, because the child reuses their rows.
//
// Errors: no function throws; each returns a Status. Do not modify input arrays (ids, rows, queries, masks) during a
// call: results become undefined, but no access leaves the index.
//
// Scores are float32 and equal in every bit on every machine: the products of dimensions d ≡ j (mod 16) are added in
// order for each j, and the 16 sums in a fixed tree (src/kernels/scoring_loops.inc). For int8 rows the query is rounded
// to integers, whose sums are exact (src/index/row_format.hpp). The score of an item with codes c_0, c_1, … in the code
// columns of the index is, each operation rounded to float32,
//
//   ((product·row_scale + (((0 + t_0[c_0]) + t_1[c_1]) + …))·version_scale + version_offset)·item_scale + item_offset
//
// with the row's scale if it is int8, the query's tables t if it has any (CodeTable), scale and offset of the row's
// model version (ItemIndex::calibrate) and those of the item (ItemIndex::adjust). A score that overflows to NaN counts
// as −inf. Results are ordered by score, largest first, and equal scores by position in the input, lowest first.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "karec/array.hpp"
#include "karec/dpp.hpp"
#include "karec/export.hpp"
#include "karec/filter.hpp"
#include "karec/status.hpp"

namespace karec {

struct Generation;
struct HazardSlot;
class GenerationStore;

inline constexpr std::int32_t kUnknownRow = -1;
inline constexpr std::size_t kEveryRow = 0;  // n_probe of an exact search
inline constexpr std::size_t kMaxCodeColumns = 16;

// One value per row, for example the creator of each item. `bytes`: an element of `dtype` for each, little-endian.
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
    std::size_t found = 0;         // entries of Ranked that were written
    std::size_t unknown = 0;       // skipped inputs: not in the index, or of a model version without a query
    std::size_t blocked = 0;       // skipped inputs: blocked
    std::uint64_t generation = 0;  // generation that the search read
};

// The vectors of one model version in an index.
struct ModelVersion {
    std::int64_t number = 0;
    std::size_t n_rows = 0;
    std::uint64_t space_id = 0;  // XXH64 of the file of the item tower that computed them; 0: unknown
    // An inner product becomes product·scale + offset before the item's own adjustment, so that scores of several
    // versions are comparable. scale > 0, both finite.
    float scale = 1.0f;
    float offset = 0.0f;
    bool is_calibrated() const noexcept { return scale != 1.0f || offset != 0.0f; }
};

// What the codes of one code column add to scores: values[i] for codes[i], `other` for every other code.
struct CodeTable {
    std::span<const std::uint32_t> codes;  // ascending, without repetition
    std::span<const float> values;         // one for each code, finite
    float other = 0.0f;
};

struct VersionQuery {
    std::int64_t model_version;
    std::span<const float> values;
    std::span<const CodeTable> tables = {};  // none, or one for each code column, in the index's order
};

// One query of D values, or one for each model version: a row is scored by the query of its version. `tables` are for
// one query, as in VersionQuery.
struct Query {
    Query(std::span<const float> query, std::span<const CodeTable> code_tables = {})
        : values(query), tables(code_tables) {}
    Query(const std::vector<float>& query, std::span<const CodeTable> code_tables = {})
        : values(query), tables(code_tables) {}
    Query(std::span<const VersionQuery> queries) : by_version(queries) {}
    std::span<const float> values;
    std::span<const CodeTable> tables;
    std::span<const VersionQuery> by_version;
};

// Rows, and the generation in which they were found (0: unknown). A call rejects rows of another generation than its
// own, because they may have other items. It does not check this for an unknown generation.
struct Rows {
    Rows() = default;
    template <class Values>
        requires std::convertible_to<const Values&, std::span<const std::int32_t>>
    Rows(const Values& rows, std::uint64_t generation_found = 0) : values(rows), generation(generation_found) {}
    std::span<const std::int32_t> values;
    std::uint64_t generation = 0;
};

// Items by id, or by row. Unknown ids, kUnknownRow and rows of removed items are skipped and counted.
struct Candidates {
    static Candidates of_ids(std::span<const std::int64_t> ids) { return {ids, {}}; }
    static Candidates of_rows(const Rows& rows) { return {{}, rows}; }
    std::size_t size() const noexcept { return ids.size() + rows.values.size(); }  // one of the two is empty
    std::span<const std::int64_t> ids;
    Rows rows;
};

// Ids and columns by row. `present` is 0 for a row whose item was removed or replaced; its values are undefined.
struct IndexTable {
    std::uint64_t generation = 0;
    std::span<const std::int64_t> ids;
    std::span<const Column> columns;
    std::span<const std::uint8_t> present;  // empty: every row has an item
};

// From ItemIndex::pinned(). A view that was moved from can only be destroyed or assigned to.
class KAREC_API IndexView {
  public:
    IndexView(IndexView&& other) noexcept;
    IndexView& operator=(IndexView&& other) noexcept;
    ~IndexView();

    std::size_t size() const noexcept;    // number of items
    std::size_t n_rows() const noexcept;  // including rows of removed items
    std::size_t dim() const noexcept;
    DType dtype() const noexcept;
    bool rescores() const noexcept;
    std::int64_t model_version() const noexcept;                        // of the newest vectors
    Result<std::vector<std::int64_t>> model_versions() const noexcept;  // of all vectors, ascending
    Result<std::vector<ModelVersion>> versions() const noexcept;        // of all vectors, ascending by number
    std::uint64_t generation() const noexcept;                          // 1 after build; each write adds 1
    std::size_t n_lists() const noexcept;                               // 0: none (ItemIndex::build_lists)
    std::size_t bytes() const noexcept;  // memory that grows with the items, mapped or owned

    Result<std::vector<ColumnType>> column_types() const noexcept;  // in the index's order
    Result<DType> column_dtype(std::string_view name) const noexcept;
    Result<std::vector<std::string>> code_columns() const noexcept;  // in the index's order

    // Ids and columns: the mapped file if the index is unchanged since it was opened, else a copy, O(N). May outlive
    // the view. For a few rows, gather_column costs less.
    Result<std::shared_ptr<const IndexTable>> table() const noexcept;

    // Writes a temporary file, syncs it and renames it to `path`: readers see the old file or the new one. Omits rows
    // of removed items, so that later rows get smaller numbers; the generation stays the same. io_error (EEXIST):
    // `path` exists and is not a regular file; symbolic links are not followed.
    Status save(const std::string& path) const noexcept;

    // rows[i] = the row of ids[i], or kUnknownRow. Expected O(1) per id, in batches that overlap cache misses.
    Status lookup(std::span<const std::int64_t> ids, std::span<std::int32_t> rows) const noexcept;

    // out[i] = the adjusted score of candidate i; −inf if a search would skip it. int8 rows are not rescored.
    // invalid_argument: a row outside [−1, n_rows), with its position.
    Result<SearchCount> scores(const Query& query, const Candidates& candidates, std::span<float> out) const noexcept;

    // The best out.scores.size() candidates, or all that can be scored. O(candidates·D). invalid_argument: one query
    // for an index with vectors of several model versions; tables that are not one for each code column, or have codes
    // that do not ascend, or NaN or infinity, with the position.
    Result<SearchCount> search(const Query& query, const Candidates& candidates, const Ranked& out) const noexcept;

    // Searches all rows for several queries in one pass. `out` has a list for each query, all of one length; a list
    // with fewer results ends in score −inf and id, row, position −1. `counts` has an entry for each query. `mask` is
    // empty or has n_rows() bytes, 0 excludes the row; a mask of an earlier generation has fewer bytes and excludes
    // later rows. Excluded rows are not counted. `unknown` counts items of model versions without a query, also
    // excluded ones. O(queries·N·D).
    //
    // n_probe: scores only rows of the n_probe lists whose centroids have the largest inner products with the query
    // (without tables), and rows in no list. Items of other lists are missed; the others have the scores of an exact
    // search, and n_probe = n_lists gives its result. invalid_argument: an index without lists. O(queries·(n_lists·D +
    // N/64 + rows scored·D)).
    Status search_all(std::span<const Query> queries, std::span<const std::uint8_t> mask, const Ranked& out,
                      std::span<SearchCount> counts, std::size_t n_probe = kEveryRow) const noexcept;

    // mask (n_rows) = 1 for rows whose item satisfies the filter and is not blocked, else 0. invalid_argument: another
    // length, or a column that is missing or is compared with values of another kind.
    Status mask(const Filter& filter, std::span<std::uint8_t> mask) const noexcept;

    // Updates a mask (n_rows) that begins with the filter's mask of `generation` to that of this view. Reads only rows
    // that changed since, in words of 64, and rows that were added; all rows if build_lists() gave them other numbers.
    // invalid_argument: as mask(), or a newer generation. O(n_rows/64 + 64·changed rows).
    Status update_mask(const Filter& filter, std::uint64_t generation, std::span<std::uint8_t> mask) const noexcept;

    // Runs dpp_select (karec/dpp.hpp) on `rows` (N,) with relevance (N,). `indices` are positions in `rows`. Vectors
    // are read in place, with the values of gather(). invalid_argument: also a row without an item, with its position.
    Result<DppCount> dpp_select(const Rows& rows, std::span<const float> relevance, const DppOptions& options,
                                std::span<std::int64_t> indices, std::span<double> gains) const noexcept;

    // out (rows, D) = the vectors as float32, from the float32 rows if there are any; zeros for a row without an item
    // (kUnknownRow, or removed).
    Status gather(const Rows& rows, std::span<float> out) const noexcept;

    // out = the column's value for each row, of column_dtype(name); zeros for a row without an item. O(rows).
    Status gather_column(std::string_view name, const Rows& rows, std::span<std::byte> out) const noexcept;

    // out[i] = the model version of the vector in rows[i], 0 for a row without an item. Inner products of vectors of
    // different versions have no meaning. O(rows).
    Status gather_model_versions(const Rows& rows, std::span<std::int64_t> out) const noexcept;

  private:
    friend class ItemIndex;
    explicit IndexView(std::shared_ptr<const GenerationStore> store) noexcept;  // pins the newest generation
    void release() noexcept;
    // unavailable: another thread made the view before a fork.
    Status check_held() const;

    std::shared_ptr<const GenerationStore> store_;
    HazardSlot* slot_;
    std::uint32_t epoch_;
    const Generation* generation_;
};

}  // namespace karec
