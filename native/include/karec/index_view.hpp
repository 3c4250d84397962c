// One generation of an item index, held: every reading call, and what they take and give.
//
//   const karec::IndexView view = index.pinned();
//   std::vector<std::int32_t> rows(ids.size());
//   view.lookup(ids, rows);                                              // these rows stay what they are
//   view.gather_column("creator_id", {rows, view.generation()}, bytes);  // while the view lives
//
// A view sees one generation whatever is written meanwhile. It waits for no write, and no write waits for it. It keeps
// the index alive, and its generation's memory: rows that were replaced since are not used again before the view is
// gone. Hold one for a request, not for hours.
//
// No function throws; each says with a Status what it refuses. Wherever results are ranked, they are ordered by score,
// largest first, and equal scores by position in the input, lowest first.
//
// Threads: any function may run in any number of threads at once, on one view. A view may be destroyed in another
// thread than the one that made it, when no call uses it any more.
//
// Fork: a view that the forking thread made goes on in the child. Of those that other threads made, the child refuses
// every call that reads works, as unavailable: their threads are not there to end them, so that their rows are used
// again.
//
// What a call reads (ids, rows, queries, masks) must not change until it returns: else its results are void, though it
// touches no memory outside the index.
//
// Scores are float32 and the same bits on every machine: the products of dimensions d ≡ j (mod 16) are added up in
// order for each j, and the 16 sums are added in a fixed tree (see src/kernels/scoring_loops.inc). int8 rows meet a
// query rounded to integers, whose sums are exact (see src/index/row_format.hpp). Then come the scale and offset of the
// row's model version, where it has any (ItemIndex::calibrate), and last the work's adjustment: score·scale + offset. A
// score that overflows to NaN counts as −inf.
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
#include "karec/status.hpp"

namespace karec {

struct Generation;
struct HazardSlot;
class GenerationStore;

inline constexpr std::int32_t kUnknownRow = -1;
inline constexpr std::size_t kEveryRow = 0;  // n_probe of an exact search

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

// What an index knows of the vectors of one model version.
struct ModelVersion {
    std::int64_t number = 0;
    std::size_t n_rows = 0;      // works whose vectors are of it
    std::uint64_t space_id = 0;  // of the item tower that made them: its file's XXH64; 0 = not known
    // A row's inner product becomes product·scale + offset before the work's own adjustment, so that scores of several
    // versions are on one scale. scale > 0, both finite.
    float scale = 1.0f;
    float offset = 0.0f;
    bool is_calibrated() const noexcept { return scale != 1.0f || offset != 0.0f; }
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

// Rows, and the generation that they were found in; 0 = not said. Rows of another generation than the one that a call
// reads are refused: they may hold other works by then. Rows without a generation are taken at their word.
struct Rows {
    Rows() = default;
    template <class Values>
        requires std::convertible_to<const Values&, std::span<const std::int32_t>>
    Rows(const Values& of, std::uint64_t found_in = 0) : values(of), generation(found_in) {}
    std::span<const std::int32_t> values;
    std::uint64_t generation = 0;
};

// Works by id, or by row. Unknown ids, and rows of kUnknownRow or of removed works, are skipped and counted.
struct Candidates {
    static Candidates of_ids(std::span<const std::int64_t> ids) { return {ids, {}}; }
    static Candidates of_rows(const Rows& rows) { return {{}, rows}; }
    std::size_t size() const noexcept { return ids.size() + rows.values.size(); }  // one of the two is empty
    std::span<const std::int64_t> ids;
    Rows rows;
};

// Ids and columns by row, of one generation. Where a work was removed or replaced, `present` is 0 and the rest void.
struct IndexTable {
    std::uint64_t generation = 0;
    std::span<const std::int64_t> ids;
    std::span<const Column> columns;
    std::span<const std::uint8_t> present;  // empty: every row holds a work
};

// Made by ItemIndex::pinned(). A view that was moved from can only be destroyed or assigned to.
class KAREC_API IndexView {
  public:
    IndexView(IndexView&& other) noexcept;
    IndexView& operator=(IndexView&& other) noexcept;
    ~IndexView();

    std::size_t size() const noexcept;    // works
    std::size_t n_rows() const noexcept;  // rows, with those of removed works: every row is below
    std::size_t dim() const noexcept;
    DType dtype() const noexcept;
    bool rescores() const noexcept;
    std::int64_t model_version() const noexcept;                        // of the newest vectors
    Result<std::vector<std::int64_t>> model_versions() const noexcept;  // of all vectors, ascending
    Result<std::vector<ModelVersion>> versions() const noexcept;        // the same, with what is known of each
    std::uint64_t generation() const noexcept;  // names the contents that a search saw; 1 after build, + 1 a write
    std::size_t n_lists() const noexcept;       // 0: there are none (ItemIndex::build_lists)
    std::size_t bytes() const noexcept;         // memory of everything that grows with the works, mapped or owned

    Result<std::vector<ColumnType>> column_types() const noexcept;  // in the index's order
    Result<DType> column_dtype(std::string_view name) const noexcept;

    // Ids and columns: the file's memory while an opened index is unchanged; after a write, or of a built index, a
    // copy: O(N). Lives on its own. For a few rows, gather_column costs less.
    Result<std::shared_ptr<const IndexTable>> table() const noexcept;

    // Writes beside `path`, syncs, renames over it, syncs the folder: a reader of `path` sees the old file or the new
    // one. Rows of removed works are left out, so that the rows behind them move up; the generation is kept. Replaces a
    // regular file alone: io_error (EEXIST) where `path` is a folder, a device, a FIFO or a symbolic link, even one to
    // a regular file, which the rename would put in the link's place.
    Status save(const std::string& path) const noexcept;

    // rows[i] = the row of ids[i], kUnknownRow if there is none. Expected O(1) an id, in batches that overlap misses.
    Status lookup(std::span<const std::int64_t> ids, std::span<std::int32_t> rows) const noexcept;

    // out[i] = the adjusted score of candidate i; −inf where a search would skip it. int8 rows are not rescored.
    // Refuses rows outside [−1, n_rows), naming the first.
    Result<SearchCount> scores(const Query& query, const Candidates& candidates, std::span<float> out) const noexcept;

    // The best out.scores.size() of the candidates (fewer if not so many can be scored). O(len(candidates)·D).
    // Refuses one query where the index has vectors of several model versions.
    Result<SearchCount> search(const Query& query, const Candidates& candidates, const Ranked& out) const noexcept;

    // The best of all rows, for several queries in one pass. `out` holds len(queries) consecutive lists of equal
    // length; a list with fewer results ends in score −inf and id, row, position −1. `counts` has one entry a query.
    // `mask` is empty or holds n_rows() bytes, 0 = leave the row out. One of fewer bytes, as n_rows() was in an earlier
    // generation, leaves out the rows that came since. What the mask leaves out is not counted. `unknown` counts the
    // works of model versions without a query, whatever the mask says. O(queries·N·D).
    //
    // With n_probe, only rows of the n_probe lists whose centroids have the largest inner products with the query are
    // scored, and rows that are in no list: a work elsewhere is missed, however large its adjusted score; those found
    // have the same scores as in an exact search, and as many lists as there are give the same result. Refused where
    // the index has no lists. O(queries·(n_lists·D + N/64 + rows scored·D)).
    Status search_all(std::span<const Query> queries, std::span<const std::uint8_t> mask, const Ranked& out,
                      std::span<SearchCount> counts, std::size_t n_probe = kEveryRow) const noexcept;

    // dpp_select (karec/dpp.hpp) among the works of `rows` (N,), with relevance (N,): the result indexes `rows`.
    // Vectors are read in place, with the values that gather() gives. Refuses also a row that holds no work
    // (kUnknownRow, or removed), naming the first.
    Result<DppCount> dpp_select(const Rows& rows, std::span<const float> relevance, const DppOptions& options,
                                std::span<std::int64_t> indices, std::span<double> gains) const noexcept;

    // out (len(rows), D) = the vectors as float32 (from the float32 rows, where there are some); zeros for kUnknownRow
    // and for rows of removed works.
    Status gather(const Rows& rows, std::span<float> out) const noexcept;

    // out (len(rows) elements of column_dtype(name)) = the column's value in each row; zeros for kUnknownRow and for
    // rows of removed works. Refuses a name that no column has. O(rows).
    Status gather_column(std::string_view name, const Rows& rows, std::span<std::byte> out) const noexcept;

    // out[i] = the model version of the vector in rows[i]; 0 for kUnknownRow and for rows of removed works. Vectors of
    // two versions lie in two spaces: their inner product means nothing. O(rows).
    Status gather_model_versions(const Rows& rows, std::span<std::int64_t> out) const noexcept;

  private:
    friend class ItemIndex;
    explicit IndexView(std::shared_ptr<const GenerationStore> store) noexcept;  // of its newest generation
    void release() noexcept;
    // Refuses a view that another thread made before a fork.
    Status check_held() const;

    std::shared_ptr<const GenerationStore> store_;
    HazardSlot* slot_;
    std::uint32_t epoch_;
    const Generation* generation_;
};

}  // namespace karec
