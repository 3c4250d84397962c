// The C interface of ItemIndex: build, open, pin and write. c_index_reads.cpp has the reading functions.
#include <vector>

#include "c_api/arguments.hpp"

namespace karec::c {
namespace {

ItemIndex& writable_index(karec_index* index) {
    auto* live = std::get_if<ItemIndex>(&require(index, "index").index_or_view);
    if (live == nullptr)
        refuse("index is pinned (karec_index_pin) and cannot be written: write to the index that was pinned");
    return *live;
}

std::vector<Column> to_columns(const karec_column* first, std::size_t n, std::size_t rows) {
    std::vector<Column> columns;
    check_struct_count(first, n, "columns");
    for (std::size_t c = 0; c < n; ++c) {
        const karec_column given = read_nth_struct(first, c, "columns");
        const DType dtype = to_dtype(given.dtype, "columns->dtype");
        if (given.n != rows) {
            refuse("a column has " + std::to_string(given.n) + " elements, expected " + std::to_string(rows));
        }
        if (given.n > kMaxBytes / size_of(dtype)) refuse("columns->data has more entries than memory has");
        const auto bytes =
            to_span(static_cast<const std::byte*>(given.data), given.n * size_of(dtype), "columns->data");
        columns.push_back({&require(given.name, "columns->name"), dtype, bytes});
    }
    return columns;
}

Status count_unknown(Result<std::size_t> unknown, std::size_t* to) {
    if (unknown.ok() && to != nullptr) *to = unknown.value();
    return unknown.status();
}

}  // namespace
}  // namespace karec::c

using namespace karec;
using namespace karec::c;

karec_status karec_index_build(const int64_t* ids, size_t n, const karec_matrix* embeddings,
                               const karec_build_options* options, karec_index** index) {
    return catch_errors([&]() -> Status {
        require(index, "index");
        const auto items = to_span(ids, n, "ids");
        const MatrixView vectors = to_matrix(embeddings, "embeddings");
        const auto given = read_struct_or<karec_build_options>(KAREC_BUILD_OPTIONS_INIT, options, "options");
        const auto columns = to_columns(given.columns, given.n_columns, n);
        const auto code_columns = to_columns(given.code_columns, given.n_code_columns, n);
        ItemIndex::BuildOptions build;
        if (given.dtype != 0) build.dtype = to_dtype(given.dtype, "options->dtype");
        build.rescore = given.rescore != 0;
        build.model_version = given.model_version;
        build.columns = columns;
        build.code_columns = code_columns;
        auto built = ItemIndex::build(items, vectors, build);
        if (built.ok()) *index = new karec_index{std::move(built.value())};
        return built.status();
    });
}

karec_status karec_index_open(const char* path, const karec_open_options* options, karec_index** index) {
    return catch_errors([&]() -> Status {
        require(index, "index");
        const auto given = read_struct_or<karec_open_options>(KAREC_OPEN_OPTIONS_INIT, options, "options");
        auto opened = ItemIndex::open(to_path(path, "path"), {given.trust == 0, given.copy != 0});
        if (opened.ok()) *index = new karec_index{std::move(opened.value())};
        return opened.status();
    });
}

karec_status karec_index_pin(const karec_index* index, karec_index** view) {
    return catch_errors([&]() -> Status {
        const auto* live = std::get_if<ItemIndex>(&require(index, "index").index_or_view);
        require(view, "view");
        if (live == nullptr) return Status::invalid("index is already pinned: pin the original handle");
        *view = new karec_index{live->pinned()};
        return {};
    });
}

void karec_index_close(karec_index* index) {
    delete index;
}

karec_status karec_index_upsert(karec_index* index, const int64_t* ids, size_t n, const karec_matrix* embeddings,
                                const karec_column* columns, size_t n_columns, const karec_column* code_columns,
                                size_t n_code_columns, int64_t model_version) {
    return catch_errors([&] {
        ItemIndex& live = writable_index(index);
        const auto items = to_span(ids, n, "ids");
        const MatrixView vectors = to_matrix(embeddings, "embeddings");
        const auto codes = to_columns(code_columns, n_code_columns, n);
        return live.upsert(items, vectors, to_columns(columns, n_columns, n), model_version, 0, codes);
    });
}

karec_status karec_index_remove(karec_index* index, const int64_t* ids, size_t n, size_t* unknown) {
    return catch_errors([&] { return count_unknown(writable_index(index).remove(to_span(ids, n, "ids")), unknown); });
}
karec_status karec_index_block(karec_index* index, const int64_t* ids, size_t n, size_t* unknown) {
    return catch_errors([&] { return count_unknown(writable_index(index).block(to_span(ids, n, "ids")), unknown); });
}
karec_status karec_index_unblock(karec_index* index, const int64_t* ids, size_t n, size_t* unknown) {
    return catch_errors([&] { return count_unknown(writable_index(index).unblock(to_span(ids, n, "ids")), unknown); });
}

karec_status karec_index_adjust(karec_index* index, const int64_t* ids, size_t n, const float* scales,
                                const float* offsets, size_t* unknown) {
    return catch_errors([&] {
        ItemIndex& live = writable_index(index);
        const auto to_optional_span = [n](const float* values, const char* name) {
            return values == nullptr ? std::span<const float>() : to_span(values, n, name);
        };
        const auto items = to_span(ids, n, "ids");
        const auto factors = to_optional_span(scales, "scales");
        return count_unknown(live.adjust(items, factors, to_optional_span(offsets, "offsets")), unknown);
    });
}
