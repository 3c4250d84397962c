// The C interface of what ItemIndex and IndexView have in common: everything that is read.
#include <algorithm>

#include "c_api/arguments.hpp"

namespace karec::c {
namespace {

// Runs read(view) on the view that a pinned handle holds, or on a fresh one.
template <class Read>
karec_status reading(const karec_index* index, const Read& read) {
    return answer([&]() -> Status {
        const auto& of = object(index, "index").of;
        if (const auto* view = std::get_if<IndexView>(&of)) return read(*view);
        return read(std::get<ItemIndex>(of).pinned());
    });
}

// A query, or one for each model version.
class QueryArgument {
  public:
    explicit QueryArgument(const karec_query* given) : query_(std::span<const float>()) {
        const karec_query query = taken(given, "query");
        if (query.n_versions == 0) {
            query_ = Query(array(query.values, query.dim, "query->values"));
            return;
        }
        const auto versions = array(query.model_versions, query.n_versions, "query->model_versions");
        std::size_t total = 0;
        if (__builtin_mul_overflow(query.n_versions, query.dim, &total))
            refuse("query has more values than memory has");
        const auto values = array(query.values, total, "query->values");
        for (std::size_t v = 0; v < versions.size(); ++v) {
            each_.push_back({versions[v], values.subspan(v * query.dim, query.dim)});
        }
        query_ = Query(std::span<const VersionQuery>(each_.data(), each_.size()));
    }
    const Query& get() const noexcept { return query_; }

  private:
    ScratchVector<VersionQuery> each_;
    Query query_;
};

class QueryArguments {
  public:
    QueryArguments(const karec_query* first, std::size_t n) {
        check_count(first, n, "queries");
        for (std::size_t q = 0; q < n; ++q) {
            taken_nth(first, q, "queries");
            arguments_.emplace_back(nth(first, q));
        }
        for (const QueryArgument& argument : arguments_) queries_.push_back(argument.get());
    }
    std::span<const Query> all() const noexcept { return {queries_.data(), queries_.size()}; }

  private:
    ScratchVector<QueryArgument> arguments_;
    ScratchVector<Query> queries_;
};

Candidates candidates_of(const karec_candidates* given) {
    const karec_candidates candidates = taken(given, "candidates");
    if (candidates.ids != nullptr && candidates.rows != nullptr) refuse("candidates are ids or rows, not both");
    if (candidates.rows != nullptr)
        return Candidates::of_rows(array(candidates.rows, candidates.n, "candidates->rows"));
    return Candidates::of_ids(array(candidates.ids, candidates.n, "candidates->ids"));
}

Ranked ranked_of(const karec_ranked* given) {
    const karec_ranked ranked = taken(given, "ranked");
    return {array(ranked.scores, ranked.n, "ranked->scores"), array(ranked.ids, ranked.n, "ranked->ids"),
            array(ranked.rows, ranked.n, "ranked->rows"), array(ranked.positions, ranked.n, "ranked->positions")};
}

karec_search_count count_of(const SearchCount& count) noexcept {
    return {0, count.found, count.unknown, count.blocked, count.generation};
}

// (n, dim) floats `stride` bytes apart; 0 = side by side.
void check_rows(std::size_t n, std::size_t dim, std::size_t stride, const char* name) {
    std::size_t bytes = 0;
    const bool fits = !__builtin_mul_overflow(dim, sizeof(float), &bytes) &&
                      !__builtin_mul_overflow(std::max(stride, bytes), n, &bytes) && bytes <= kMostBytes;
    if (!fits) refuse(std::string(name) + " has more elements than memory has");
    if (stride != 0 && stride < dim * sizeof(float)) refuse(std::string(name) + ": the stride is shorter than a row");
    if (stride % alignof(float) != 0) refuse(std::string(name) + ": the stride is no multiple of 4 bytes");
}

}  // namespace
}  // namespace karec::c

using namespace karec;
using namespace karec::c;

karec_status karec_index_save(const karec_index* index, const char* path) {
    return reading(index, [&](const IndexView& of) { return of.save(path_of(path, "path")); });
}

karec_status karec_index_describe(const karec_index* index, karec_index_info* info) {
    return reading(index, [&](const IndexView& of) -> Status {
        check_size(info, "info");
        give(info, {0, of.size(), of.n_rows(), of.dim(), of.bytes(), static_cast<karec_dtype>(of.dtype()),
                    of.rescores() ? 1 : 0, of.model_version(), of.generation()});
        return {};
    });
}

karec_status karec_index_lookup(const karec_index* index, const int64_t* ids, size_t n, int32_t* rows) {
    return reading(index, [&](const IndexView& of) { return of.lookup(array(ids, n, "ids"), array(rows, n, "rows")); });
}

karec_status karec_index_scores(const karec_index* index, const karec_query* query, const karec_candidates* candidates,
                                float* scores, karec_search_count* count) {
    return reading(index, [&](const IndexView& of) {
        const QueryArgument one(query);
        const Candidates among = candidates_of(candidates);
        if (count != nullptr) check_size(count, "count");
        auto counted = of.scores(one.get(), among, array(scores, among.size(), "scores"));
        if (counted.ok() && count != nullptr) give(count, count_of(counted.value()));
        return counted.status();
    });
}

karec_status karec_index_search(const karec_index* index, const karec_query* query, const karec_candidates* candidates,
                                const karec_ranked* ranked, karec_search_count* count) {
    return reading(index, [&](const IndexView& of) {
        const QueryArgument one(query);
        const Candidates among = candidates_of(candidates);
        const Ranked out = ranked_of(ranked);
        if (count != nullptr) check_size(count, "count");
        auto counted = of.search(one.get(), among, out);
        if (counted.ok() && count != nullptr) give(count, count_of(counted.value()));
        return counted.status();
    });
}

karec_status karec_index_search_batch(const karec_index* index, const karec_query* queries, size_t n_queries,
                                      const karec_candidates* candidates, const int64_t* indptr,
                                      const karec_ranked* ranked, karec_search_count* counts) {
    return reading(index, [&](const IndexView& of) -> Status {
        const QueryArguments each(queries, n_queries);
        const Candidates among = candidates_of(candidates);
        const Ranked out = ranked_of(ranked);
        const auto ends = array(indptr, each.all().size() + 1, "indptr");
        check_written(counts, n_queries, "counts");
        ScratchVector<SearchCount> counted(n_queries);
        Status status = of.search_batch(each.all(), among, ends, out, counted);
        for (std::size_t q = 0; status.ok() && q < n_queries; ++q) give(nth(counts, q), count_of(counted[q]));
        return status;
    });
}

karec_status karec_index_search_all(const karec_index* index, const karec_query* queries, size_t n_queries,
                                    const uint8_t* mask, size_t n_mask, const karec_ranked* ranked,
                                    karec_search_count* counts) {
    return reading(index, [&](const IndexView& of) -> Status {
        const QueryArguments each(queries, n_queries);
        const auto kept = array(mask, n_mask, "mask");
        const Ranked out = ranked_of(ranked);
        check_written(counts, n_queries, "counts");
        ScratchVector<SearchCount> counted(n_queries);
        Status status = of.search_all(each.all(), kept, out, counted);
        for (std::size_t q = 0; status.ok() && q < n_queries; ++q) give(nth(counts, q), count_of(counted[q]));
        return status;
    });
}

karec_status karec_index_gather(const karec_index* index, const int32_t* rows, size_t n, float* vectors, size_t dim,
                                size_t row_stride) {
    return reading(index, [&](const IndexView& of) -> Status {
        check_rows(n, dim, row_stride, "vectors");
        const auto wanted = array(rows, n, "rows");
        const auto out = array(vectors, n * dim, "vectors");
        if (row_stride <= dim * sizeof(float)) return of.gather(wanted, out);
        ScratchVector<float> together(n * dim);
        if (Status status = of.gather(wanted, together); !status.ok()) return status;
        for (std::size_t i = 0; i < n; ++i) {
            std::copy_n(together.data() + i * dim, dim, vectors + i * (row_stride / sizeof(float)));
        }
        return {};
    });
}

karec_status karec_index_gather_column(const karec_index* index, const char* name, const int32_t* rows, size_t n,
                                       karec_dtype dtype, void* values) {
    return reading(index, [&](const IndexView& of) -> Status {
        const DType wanted = dtype_of(dtype, "dtype");
        const auto held = of.column_dtype(&object(name, "name"));
        if (!held.ok()) return held.status();
        if (held.value() != wanted) {
            refuse("column '" + std::string(name) + "' is of dtype " + name_of(held.value()) + ", not " +
                   name_of(wanted));
        }
        const auto at = array(rows, n, "rows");
        return of.gather_column(name, at, array(static_cast<std::byte*>(values), n * size_of(wanted), "values"));
    });
}

karec_status karec_index_column_dtype(const karec_index* index, const char* name, karec_dtype* dtype) {
    return reading(index, [&](const IndexView& of) -> Status {
        object(dtype, "dtype");
        auto held = of.column_dtype(&object(name, "name"));
        if (held.ok()) *dtype = static_cast<karec_dtype>(held.value());
        return held.status();
    });
}
