// Every C entry point with arguments at random: NULL, lengths that fit and lengths that do not, dtypes, strides and
// struct sizes of any number, NaN, ids that repeat. Each call must return a status; under Address+UB sanitizers
// any access outside the buffers, which have exactly the given length, ends the program.
//
//   fuzz_c_api [calls, 20000] [seed, 1]
//
// Lengths are those of the buffers or less, or too large for any memory: a C function cannot detect other wrong
// lengths.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "karec/karec.h"
#include "random_arguments.hpp"
#include "stages/bundle_files.hpp"

using namespace karec::random_arguments;

namespace {

struct World {
    karec::BundleFolder folder;
    std::string saved = folder.root() + "/saved.karec";
    karec_index* index = nullptr;
    karec_stages* stages = nullptr;
    std::size_t heard = 0;
};

template <class T>
T* handle(T* good) {
    return one_in(40) ? nullptr : good;
}

// None, one or two facets of n items, and of at most 4 rows that were shown.
template <class Options>
void random_facets(Options& o, std::size_t n) {
    o.n_facets = one_in(2) ? below(3) : 0;
    if (o.n_facets == 0) return;
    o.facets = buffer<std::int64_t>(o.n_facets * n);
    auto* weights = buffer<double>(o.n_facets);
    for (std::size_t f = 0; weights != nullptr && f < o.n_facets && !one_in(20); ++f) weights[f] = 0.25;
    o.facet_weights = weights;
    if (o.shown != nullptr && one_in(2)) o.shown_facets = buffer<std::int64_t>(o.n_facets * 4);
}

const karec_mmr_ssd_options* random_mmr_ssd(std::size_t n, std::size_t dim) {
    return structs<karec_mmr_ssd_options>(1, [&](karec_mmr_ssd_options& o) {
        o.diversity = one_in(20) ? value<double>() : 0.5;
        if (one_in(3)) o.shown = matrix(below(4), dim);
        o.window = one_in(2) ? below(5) : 0;
        random_facets(o, n);
    });
}

constexpr std::size_t kFunctions = 31;
constexpr std::size_t kDppSelect = 18;

karec_status call(World& w, std::size_t which) {
    const std::size_t n = length();
    const std::size_t dim = one_in(10) ? length() : karec::kBundleDim;
    const std::size_t k = length();
    std::size_t number = 0;
    std::size_t* told = one_in(10) ? nullptr : &number;
    switch (which) {
        case 0: {
            karec_index* built = nullptr;
            const auto* options = structs<karec_build_options>(1, [&](karec_build_options& o) {
                o.dtype = one_in(3) ? any_dtype() : KAREC_INT8;
                o.rescore = static_cast<std::int32_t>(below(2));
                o.n_columns = below(3);
                o.columns = columns(o.n_columns, n);
                o.n_code_columns = below(3);
                o.code_columns = code_columns(o.n_code_columns, n);
            });
            auto* ids = buffer<std::int64_t>(n);
            for (std::size_t i = 0; ids != nullptr && i < n && !one_in(9); ++i) ids[i] = static_cast<std::int64_t>(i);
            const auto status = karec_index_build(ids, said(n), matrix(n, dim), options, one_in(20) ? nullptr : &built);
            if (status == KAREC_OK) karec_index_close(built);
            return status;
        }
        case 1: {
            karec_index* opened = nullptr;
            karec_index** to = one_in(20) ? nullptr : &opened;
            const char* file = path(w.folder.folder(1) + "/index.karec");
            const auto* options = structs<karec_open_options>(1, [](karec_open_options& o) {
                o.trust = static_cast<std::int32_t>(below(2));
                o.copy = static_cast<std::int32_t>(below(2));
            });
            const auto status = karec_index_open(file, options, to);
            if (status == KAREC_OK) karec_index_close(opened);
            return status;
        }
        case 2:
            return karec_index_save(handle(w.index), one_in(2) ? w.saved.c_str() : path(w.saved));
        case 3:
            return karec_index_describe(handle(w.index), written<karec_index_info>(1));
        case 4: {
            auto* ids = buffer<std::int64_t>(n);
            for (std::size_t i = 0; ids != nullptr && i < n && !one_in(9); ++i) ids[i] = static_cast<std::int64_t>(i);
            const std::size_t n_columns = one_in(3) ? below(6) : 4;
            return karec_index_upsert(handle(w.index), ids, said(n), matrix(n, dim), columns(n_columns, n), n_columns,
                                      code_columns(2, n), one_in(9) ? below(3) : 2, value<std::int64_t>());
        }
        case 5:
            return karec_index_remove(handle(w.index), buffer<std::int64_t>(n), said(n), told);
        case 6:
            return karec_index_block(handle(w.index), buffer<std::int64_t>(n), said(n), told);
        case 7:
            return karec_index_unblock(handle(w.index), buffer<std::int64_t>(n), said(n), told);
        case 8:
            return karec_index_adjust(handle(w.index), buffer<std::int64_t>(n), said(n), buffer<float>(n),
                                      buffer<float>(n), told);
        case 9:
            return karec_index_lookup(handle(w.index), buffer<std::int64_t>(n), said(n), buffer<std::int32_t>(n));
        case 10:
            return karec_index_scores(handle(w.index), queries(1, dim), candidates(n), buffer<float>(n),
                                      written<karec_search_count>(1));
        case 11:
            return karec_index_search(handle(w.index), queries(1, dim), candidates(n), ranked(k),
                                      written<karec_search_count>(1));
        case 13: {
            const std::size_t users = below(3);
            karec_index_info info{};
            info.struct_size = sizeof info;
            (void)karec_index_describe(w.index, &info);
            const std::size_t n_mask = one_in(2) ? 0 : info.n_rows;
            return karec_index_search_all(handle(w.index), queries(users, dim), users, buffer<std::uint8_t>(n_mask),
                                          n_mask, ranked(k * users), written<karec_search_count>(users));
        }
        case 14:
            return karec_index_gather(handle(w.index), buffer<std::int32_t>(n), n, buffer<float>(n * dim),
                                      one_in(40) ? said(dim + 1) : dim);
        case 15:
            return karec_index_gather_column(handle(w.index), one_in(20) ? nullptr : "creator_id",
                                             buffer<std::int32_t>(n), n, one_in(9) ? any_dtype() : KAREC_INT64,
                                             buffer<std::int64_t>(n));
        case 16: {
            karec_dtype dtype = 0;
            return karec_index_column_dtype(handle(w.index),
                                            one_in(9)   ? nullptr
                                            : one_in(2) ? "type"
                                                        : "no such",
                                            one_in(9) ? nullptr : &dtype);
        }
        case 17:
            return karec_dpp_alpha(value<double>()) >= 0.0 ? KAREC_OK : KAREC_INVALID_ARGUMENT;
        case kDppSelect: {
            const auto* options = structs<karec_dpp_options>(1, [&](karec_dpp_options& o) {
                o.alpha = mostly_positive<double>();
                o.ridge = mostly_positive<double>();
                o.type_weight = one_in(2) ? mostly_positive<double>() / 2 : 0.0;  // with two facets at most 1
                if (one_in(3)) o.weights = buffer<float>(n);
                for (std::size_t i = 0; o.weights != nullptr && i < n && !one_in(200); ++i) {
                    const_cast<float*>(o.weights)[i] = mostly_positive<float>();
                }
                if (!one_in(4)) o.types = buffer<std::int64_t>(n);
                if (one_in(3)) o.shown = matrix(below(4), dim);
                o.window = one_in(2) ? below(5) : 0;
                o.max_per_type = one_in(3) ? below(4) : 0;
                o.min_per_type = one_in(3) ? below(4) : 0;
                o.fill = static_cast<std::int32_t>(below(2));
                random_facets(o, n);
            });
            return karec_dpp_select(matrix(n, dim), buffer<float>(n), said(n), options, buffer<std::int64_t>(k),
                                    buffer<double>(k), k, written<karec_dpp_count>(1));
        }
        case 19:
            return karec_dpp_select_kernel(buffer<double>(n * n), one_in(40) ? said(0) : n, below(4),
                                           buffer<std::int64_t>(k), buffer<double>(k), k, written<karec_dpp_count>(1));
        case 20:
            return karec_mmr_select(matrix(n, dim), buffer<float>(n), said(n), random_mmr_ssd(n, dim),
                                    buffer<std::int64_t>(k), buffer<double>(k), k, told);
        case 21:
            return karec_ssd_select(matrix(n, dim), buffer<float>(n), said(n), random_mmr_ssd(n, dim),
                                    buffer<std::int64_t>(k), buffer<double>(k), k, told);
        case 22: {
            karec_stages* opened = nullptr;
            const auto* options = structs<karec_stages_options>(1, [&](karec_stages_options& o) {
                o.trust = static_cast<std::int32_t>(below(2));
                if (one_in(9)) o.onnxruntime = "/nowhere/libonnxruntime.so";
                o.context = &w.heard;
                o.on_step = [](void* context, const karec_step_metrics* step) {
                    *static_cast<std::size_t*>(context) += std::strlen(step->stage) + std::strlen(step->step);
                };
            });
            const std::string root = path(w.folder.root()) == nullptr ? "" : w.folder.root();
            const auto status =
                karec_stages_open(root.c_str(), path(w.folder.settings()), options, one_in(20) ? nullptr : &opened);
            if (status != KAREC_OK) return status;
            (void)karec_stages_run(opened, request(), page());
            karec_stages_close(opened);
            return status;
        }
        case 23:
            return karec_stages_run(handle(w.stages), request(), page());
        case 24: {
            w.folder.point_at(1 + static_cast<std::int64_t>(below(2)));
            std::int32_t reloaded = 0;
            return karec_stages_reload(handle(w.stages), one_in(2) ? nullptr : &reloaded);
        }
        case 25: {
            std::int64_t version = 0;
            return karec_stages_model_version(handle(w.stages), one_in(9) ? nullptr : &version);
        }
        case 26: {
            karec_index* index = nullptr;
            const auto status = karec_stages_index(handle(w.stages), one_in(9) ? nullptr : &index);
            if (status == KAREC_OK) karec_index_close(index);
            return status;
        }
        case 27: {
            // A few calls on a pinned handle in place of the index: reads succeed, writes are refused.
            karec_index* view = nullptr;
            const auto status = karec_index_pin(handle(w.index), one_in(20) ? nullptr : &view);
            if (status != KAREC_OK) return status;
            std::swap(w.index, view);
            for (int i = 0; i < 5; ++i) (void)call(w, below(kDppSelect));
            std::swap(w.index, view);
            karec_index_close(view);
            return status;
        }
        case 28: {
            karec_index_info info{};
            info.struct_size = sizeof info;
            (void)karec_index_describe(w.index, &info);
            karec_filter* filter = nullptr;
            const std::size_t n_terms = below(4);
            const auto status = karec_filter_create(filter_terms(n_terms), n_terms, one_in(20) ? nullptr : &filter);
            auto* mask = buffer<std::uint8_t>(info.n_rows);
            const std::size_t n_mask = one_in(9) ? below(info.n_rows + 1) : info.n_rows;
            (void)karec_filter_mask(filter, handle(w.index), mask, n_mask);
            (void)karec_filter_update(filter, handle(w.index), below(4), mask, n_mask);
            karec_filter_close(filter);
            return status;
        }
        case 29: {
            std::size_t position = 0;
            const auto status = karec_index_find_code_column(handle(w.index), one_in(9) ? path("tag") : "song",
                                                             one_in(9) ? nullptr : &position);
            if (status == KAREC_OK && position > 1) std::abort();
            return status;
        }
        default:
            karec_filter_close(nullptr);
            karec_index_close(nullptr);
            karec_stages_close(nullptr);
            return karec_abi_version() == KAREC_ABI_VERSION && karec_version() != nullptr && karec_isa() != nullptr &&
                           karec_last_error() != nullptr && karec_last_system_error() >= 0
                       ? KAREC_OK
                       : KAREC_INVALID_ARGUMENT;
    }
}

void open_again(World& w) {
    karec_index_close(w.index);
    w.index = nullptr;
    const std::string file = w.folder.root() + "/coded.karec";
    if (!karec::index_of_version(1, karec::DType::float32, true).pinned().save(file).ok()) std::abort();
    if (karec_index_open(file.c_str(), nullptr, &w.index) != KAREC_OK) std::abort();
}

}  // namespace

int main(int argc, char** argv) {
    const long calls = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 20000;
    random_bits.seed(argc > 2 ? static_cast<std::uint64_t>(std::strtoll(argv[2], nullptr, 10)) : 1);
    World w;
    w.folder.publish(2, true);
    w.folder.publish(1);
    const auto opened = karec_stages_open(w.folder.root().c_str(), w.folder.settings().c_str(), nullptr, &w.stages);
    if (opened != KAREC_OK) std::abort();
    long good[kFunctions] = {};
    long all[kFunctions] = {};
    for (long round = 0; round < calls; ++round) {
        if (round % 2000 == 0) open_again(w);
        const std::size_t which = below(kFunctions);
        const karec_status status = call(w, which);
        if (status < KAREC_OK || status > KAREC_UNAVAILABLE) std::abort();
        if (status != KAREC_OK && *karec_last_error() == 0) std::abort();
        ++all[which];
        good[which] += status == KAREC_OK;
        buffers.clear();
    }
    karec_index_close(w.index);
    karec_stages_close(w.stages);
    // If nearly all calls of a function are refused, only its checks are tested.
    for (std::size_t which = 0; which < kFunctions; ++which) {
        if (all[which] > 300 && good[which] * 50 < all[which]) {
            std::fprintf(stderr, "of %ld calls of function %zu only %ld were answered\n", all[which], which,
                         good[which]);
            return 1;
        }
    }
    if (calls >= 10000 && good[kDppSelect] * 4 < all[kDppSelect]) {
        std::fprintf(stderr, "of %ld calls of karec_dpp_select only %ld selected\n", all[kDppSelect], good[kDppSelect]);
        return 1;
    }
    std::printf("%ld calls\n", calls);
    return 0;
}
