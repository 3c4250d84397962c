// The query argument of C functions: one vector with code tables for all rows, or one for each model version.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "base/scratch.hpp"
#include "c_api/arguments.hpp"
#include "karec/index_view.hpp"

namespace karec::c {

// The query of a karec_query, with checked pointers and lengths. Points to the caller's arrays.
class QueryArgument {
  public:
    QueryArgument(const karec_query* given, const char* name) : query_(std::span<const float>()) {
        const karec_query query = read_struct(given, name);
        const std::size_t n_lists = std::max<std::size_t>(query.n_versions, 1);
        std::size_t n_tables = 0;
        if (__builtin_mul_overflow(n_lists, query.n_tables, &n_tables)) refuse("query has more tables than memory has");
        check_struct_count(query.tables, n_tables, "query->tables");
        for (std::size_t t = 0; t < n_tables; ++t) {
            const karec_code_table table = read_nth_struct(query.tables, t, "query->tables");
            tables_.push_back({to_span(table.codes, table.n, "query->tables->codes"),
                               to_span(table.values, table.n, "query->tables->values"), table.other});
        }
        const auto tables_of = [&](std::size_t list) {
            return std::span<const CodeTable>(tables_.data() + list * query.n_tables, query.n_tables);
        };
        if (query.n_versions == 0) {
            query_ = Query(to_span(query.values, query.dim, "query->values"), tables_of(0));
            return;
        }
        const auto versions = to_span(query.model_versions, query.n_versions, "query->model_versions");
        std::size_t total = 0;
        if (__builtin_mul_overflow(query.n_versions, query.dim, &total))
            refuse("query has more values than memory has");
        const auto values = to_span(query.values, total, "query->values");
        for (std::size_t v = 0; v < versions.size(); ++v) {
            queries_by_version_.push_back({versions[v], values.subspan(v * query.dim, query.dim), tables_of(v)});
        }
        query_ = Query(std::span<const VersionQuery>(queries_by_version_.data(), queries_by_version_.size()));
    }
    const Query& get() const noexcept { return query_; }

  private:
    ScratchVector<CodeTable> tables_;
    ScratchVector<VersionQuery> queries_by_version_;
    Query query_;
};

}  // namespace karec::c
