// The C interface of ItemIndex: making, pinning and writing. What is read is in c_index_reads.cpp.
#include <vector>

#include "c_api/arguments.hpp"

namespace karec::c {
namespace {

ItemIndex& written_to(karec_index* index) {
    auto* live = std::get_if<ItemIndex>(&object(index, "index").of);
    if (live == nullptr)
        refuse("index is pinned (karec_index_pin) and takes no writes: write to the one it was made from");
    return *live;
}

std::vector<Column> columns_of(const karec_column* first, std::size_t n, std::size_t rows) {
    std::vector<Column> columns;
    check_count(first, n, "columns");
    for (std::size_t c = 0; c < n; ++c) {
        const karec_column given = taken_nth(first, c, "columns");
        const DType dtype = dtype_of(given.dtype, "columns->dtype");
        if (given.n != rows) {
            refuse("a column has " + std::to_string(given.n) + " elements, expected " + std::to_string(rows));
        }
        array(static_cast<const std::byte*>(given.data), given.n, "columns->data");
        const auto bytes = array(static_cast<const std::byte*>(given.data), given.n * size_of(dtype), "columns->data");
        columns.push_back({&object(given.name, "columns->name"), dtype, bytes});
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
    return answer([&]() -> Status {
        object(index, "index");
        const auto works = array(ids, n, "ids");
        const Matrix matrix(embeddings, "embeddings");
        const karec_build_options given = taken_or(options, "options");
        const auto columns = columns_of(given.columns, given.n_columns, n);
        ItemIndex::BuildOptions build;
        if (given.dtype != 0) build.dtype = dtype_of(given.dtype, "options->dtype");
        build.rescore = given.rescore != 0;
        build.model_version = given.model_version;
        build.columns = columns;
        auto built = ItemIndex::build(works, matrix.view, build);
        if (built.ok()) *index = new karec_index{std::move(built.value())};
        return built.status();
    });
}

karec_status karec_index_open(const char* path, int32_t verify, karec_index** index) {
    return answer([&]() -> Status {
        object(index, "index");
        ItemIndex::OpenOptions open;
        open.verify = verify != 0;
        auto opened = ItemIndex::open(path_of(path, "path"), open);
        if (opened.ok()) *index = new karec_index{std::move(opened.value())};
        return opened.status();
    });
}

karec_status karec_index_open_with(const char* path, const karec_open_options* options, karec_index** index) {
    return answer([&]() -> Status {
        object(index, "index");
        const karec_open_options given = taken_or(options, "options");
        auto opened = ItemIndex::open(path_of(path, "path"), {given.trust == 0, given.copy != 0});
        if (opened.ok()) *index = new karec_index{std::move(opened.value())};
        return opened.status();
    });
}

karec_status karec_index_pin(const karec_index* index, karec_index** view) {
    return answer([&]() -> Status {
        const auto* live = std::get_if<ItemIndex>(&object(index, "index").of);
        object(view, "view");
        if (live == nullptr) return Status::invalid("index is pinned already: pin the handle that it was made from");
        *view = new karec_index{live->pinned()};
        return {};
    });
}

void karec_index_close(karec_index* index) {
    delete index;
}

karec_status karec_index_upsert(karec_index* index, const int64_t* ids, size_t n, const karec_matrix* embeddings,
                                const karec_column* columns, size_t n_columns, int64_t model_version) {
    return answer([&] {
        ItemIndex& of = written_to(index);
        const auto works = array(ids, n, "ids");
        const Matrix matrix(embeddings, "embeddings");
        return of.upsert(works, matrix.view, columns_of(columns, n_columns, n), model_version);
    });
}

karec_status karec_index_remove(karec_index* index, const int64_t* ids, size_t n, size_t* unknown) {
    return answer([&] { return count_unknown(written_to(index).remove(array(ids, n, "ids")), unknown); });
}
karec_status karec_index_block(karec_index* index, const int64_t* ids, size_t n, size_t* unknown) {
    return answer([&] { return count_unknown(written_to(index).block(array(ids, n, "ids")), unknown); });
}
karec_status karec_index_unblock(karec_index* index, const int64_t* ids, size_t n, size_t* unknown) {
    return answer([&] { return count_unknown(written_to(index).unblock(array(ids, n, "ids")), unknown); });
}

karec_status karec_index_adjust(karec_index* index, const int64_t* ids, size_t n, const float* scales,
                                const float* offsets, size_t* unknown) {
    return answer([&] {
        ItemIndex& of = written_to(index);
        const auto half = [n](const float* values, const char* name) {
            return values == nullptr ? std::span<const float>() : array(values, n, name);
        };
        const auto works = array(ids, n, "ids");
        return count_unknown(of.adjust(works, half(scales, "scales"), half(offsets, "offsets")), unknown);
    });
}
