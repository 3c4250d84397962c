// The C interface of the reading functions, which ItemIndex and IndexView share.
#include <algorithm>

#include "base/scratch.hpp"
#include "c_api/arguments.hpp"
#include "c_api/query_argument.hpp"

namespace karec::c {
namespace {

class QueryArguments {
  public:
    QueryArguments(const karec_query* first, std::size_t n) {
        check_struct_count(first, n, "queries");
        for (std::size_t q = 0; q < n; ++q) {
            read_nth_struct(first, q, "queries");
            arguments_.emplace_back(nth_struct(first, q), "queries");
        }
        for (const QueryArgument& argument : arguments_) queries_.push_back(argument.get());
    }
    std::span<const Query> all() const noexcept { return {queries_.data(), queries_.size()}; }

  private:
    ScratchVector<QueryArgument> arguments_;
    ScratchVector<Query> queries_;
};

Candidates to_candidates(const karec_candidates* given) {
    const karec_candidates candidates = read_struct(given, "candidates");
    if (candidates.ids != nullptr && candidates.rows != nullptr) refuse("candidates are ids or rows, not both");
    if (candidates.rows != nullptr)
        return Candidates::of_rows(to_span(candidates.rows, candidates.n, "candidates->rows"));
    return Candidates::of_ids(to_span(candidates.ids, candidates.n, "candidates->ids"));
}

Ranked to_ranked(const karec_ranked* given) {
    const karec_ranked ranked = read_struct(given, "ranked");
    return {to_span(ranked.scores, ranked.n, "ranked->scores"), to_span(ranked.ids, ranked.n, "ranked->ids"),
            to_span(ranked.rows, ranked.n, "ranked->rows"), to_span(ranked.positions, ranked.n, "ranked->positions")};
}

karec_search_count to_c_count(const SearchCount& count) noexcept {
    return {0, count.found, count.unknown, count.blocked, count.generation};
}

}  // namespace
}  // namespace karec::c

using namespace karec;
using namespace karec::c;

karec_status karec_index_save(const karec_index* index, const char* path) {
    return read_index(index, [&](const IndexView& view) { return view.save(to_path(path, "path")); });
}

karec_status karec_index_describe(const karec_index* index, karec_index_info* info) {
    return read_index(index, [&](const IndexView& view) -> Status {
        check_size(info, "info");
        write_struct(info,
                     {0, view.size(), view.n_rows(), view.dim(), view.bytes(), static_cast<karec_dtype>(view.dtype()),
                      view.rescores() ? 1 : 0, view.model_version(), view.generation()});
        return {};
    });
}

karec_status karec_index_find_code_column(const karec_index* index, const char* name, size_t* position) {
    return read_index(index, [&](const IndexView& view) -> Status {
        require(position, "position");
        const auto names = view.code_columns();
        if (!names.ok()) return names.status();
        const std::string wanted = &require(name, "name");
        const auto found = std::ranges::find(names.value(), wanted);
        if (found == names->end()) return Status::invalid("the index has no code column '" + wanted + "'");
        *position = static_cast<std::size_t>(found - names->begin());
        return {};
    });
}

karec_status karec_index_lookup(const karec_index* index, const int64_t* ids, size_t n, int32_t* rows) {
    return read_index(
        index, [&](const IndexView& view) { return view.lookup(to_span(ids, n, "ids"), to_span(rows, n, "rows")); });
}

karec_status karec_index_scores(const karec_index* index, const karec_query* query, const karec_candidates* candidates,
                                float* scores, karec_search_count* count) {
    return read_index(index, [&](const IndexView& view) {
        const QueryArgument argument(query, "query");
        const Candidates among = to_candidates(candidates);
        if (count != nullptr) check_size(count, "count");
        auto counted = view.scores(argument.get(), among, to_span(scores, among.size(), "scores"));
        if (counted.ok() && count != nullptr) write_struct(count, to_c_count(counted.value()));
        return counted.status();
    });
}

karec_status karec_index_search(const karec_index* index, const karec_query* query, const karec_candidates* candidates,
                                const karec_ranked* ranked, karec_search_count* count) {
    return read_index(index, [&](const IndexView& view) {
        const QueryArgument argument(query, "query");
        const Candidates among = to_candidates(candidates);
        const Ranked out = to_ranked(ranked);
        if (count != nullptr) check_size(count, "count");
        auto counted = view.search(argument.get(), among, out);
        if (counted.ok() && count != nullptr) write_struct(count, to_c_count(counted.value()));
        return counted.status();
    });
}

karec_status karec_index_search_all(const karec_index* index, const karec_query* queries, size_t n_queries,
                                    const uint8_t* mask, size_t n_mask, const karec_ranked* ranked,
                                    karec_search_count* counts) {
    return read_index(index, [&](const IndexView& view) -> Status {
        const QueryArguments arguments(queries, n_queries);
        const auto row_mask = to_span(mask, n_mask, "mask");
        const Ranked out = to_ranked(ranked);
        check_output_structs(counts, n_queries, "counts");
        ScratchVector<SearchCount> counted(n_queries);
        Status status = view.search_all(arguments.all(), row_mask, out, counted);
        for (std::size_t q = 0; status.ok() && q < n_queries; ++q)
            write_struct(nth_struct(counts, q), to_c_count(counted[q]));
        return status;
    });
}

karec_status karec_index_gather(const karec_index* index, const int32_t* rows, size_t n, float* vectors, size_t dim) {
    return read_index(index, [&](const IndexView& view) {
        std::size_t n_values = 0;
        if (__builtin_mul_overflow(n, dim, &n_values)) refuse("vectors has more entries than memory has");
        return view.gather(to_span(rows, n, "rows"), to_span(vectors, n_values, "vectors"));
    });
}

karec_status karec_index_gather_column(const karec_index* index, const char* name, const int32_t* rows, size_t n,
                                       karec_dtype dtype, void* values) {
    return read_index(index, [&](const IndexView& view) -> Status {
        const DType wanted = to_dtype(dtype, "dtype");
        const auto found = view.column_dtype(&require(name, "name"));
        if (!found.ok()) return found.status();
        if (found.value() != wanted) {
            refuse("column '" + std::string(name) + "' is of dtype " + name_of(found.value()) + ", not " +
                   name_of(wanted));
        }
        const auto at = to_span(rows, n, "rows");
        return view.gather_column(name, at, to_span(static_cast<std::byte*>(values), n * size_of(wanted), "values"));
    });
}

karec_status karec_index_column_dtype(const karec_index* index, const char* name, karec_dtype* dtype) {
    return read_index(index, [&](const IndexView& view) -> Status {
        require(dtype, "dtype");
        auto found = view.column_dtype(&require(name, "name"));
        if (found.ok()) *dtype = static_cast<karec_dtype>(found.value());
        return found.status();
    });
}
