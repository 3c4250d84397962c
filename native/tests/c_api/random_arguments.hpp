// Random arguments of C functions: buffers of exactly the given length, structs of right and wrong sizes, special
// numbers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "karec/karec.h"
#include "stages/bundle_files.hpp"

namespace karec::random_arguments {

inline std::mt19937_64 random_bits;

inline std::size_t below(std::size_t n) {
    return random_bits() % n;
}
inline bool one_in(std::size_t n) {
    return below(n) == 0;
}

// Buffers of one call, each an allocation of its own.
inline std::deque<std::vector<std::byte>> buffers;

template <class T>
T value() {
    if constexpr (std::is_floating_point_v<T>) {
        constexpr T kOdd[] = {0,
                              1,
                              -1,
                              T(0.5),
                              std::numeric_limits<T>::quiet_NaN(),
                              std::numeric_limits<T>::infinity(),
                              std::numeric_limits<T>::max(),
                              std::numeric_limits<T>::denorm_min()};
        return one_in(60) ? kOdd[below(std::size(kOdd))] : static_cast<T>(below(2000)) / T(1000) - T(1);
    } else {
        return one_in(30) ? static_cast<T>(random_bits()) : static_cast<T>(below(40));
    }
}

// A number in [0, 1), which weights and strengths may be; rarely any value().
template <class T>
T mostly_positive() {
    return one_in(200) ? value<T>() : static_cast<T>(below(1000)) / T(1000);
}

template <class T>
T* buffer(std::size_t n) {
    if (one_in(50)) return nullptr;
    auto& bytes = buffers.emplace_back(n * sizeof(T));
    bytes.shrink_to_fit();
    T* values = reinterpret_cast<T*>(bytes.data());
    for (std::size_t i = 0; i < n; ++i) values[i] = value<T>();
    return n == 0 && one_in(2) ? nullptr : values;
}

inline std::size_t length() {
    constexpr std::size_t kSome[] = {0, 1, 2, 3, 7, 16, 40};
    return kSome[below(std::size(kSome))];
}

// `n`; sometimes less, or more than any memory holds.
inline std::size_t said(std::size_t n) {
    if (one_in(40)) return std::numeric_limits<std::size_t>::max() - below(9);
    if (one_in(40)) return std::size_t{1} << (57 + below(7));
    return one_in(20) && n > 0 ? below(n) : n;
}

inline karec_dtype any_dtype() {
    if (one_in(8)) return static_cast<karec_dtype>(random_bits());
    return static_cast<karec_dtype>(one_in(3) ? KAREC_FLOAT16 : KAREC_FLOAT32);
}

// Structs of T side by side; sometimes of a wrong size, longer, or NULL.
template <class T, class Fill>
T* structs(std::size_t n, Fill&& fill) {
    if (one_in(60)) return nullptr;
    const std::size_t stride = one_in(6) ? sizeof(T) + 8 * (1 + below(3)) : sizeof(T);
    auto& bytes = buffers.emplace_back(std::max<std::size_t>(n, 1) * stride);
    for (std::size_t i = 0; i < std::max<std::size_t>(n, 1); ++i) {
        T one{};
        fill(one);
        one.struct_size = stride;
        if (one_in(60)) one.struct_size = below(2) == 0 ? below(stride) : std::size_t{1} << (13 + below(50));
        std::memcpy(bytes.data() + i * stride, &one, sizeof one);
        if (one_in(60) && stride > sizeof one) bytes[i * stride + stride - 1] = std::byte{1};
    }
    return reinterpret_cast<T*>(bytes.data());
}

inline karec_matrix* matrix(std::size_t rows, std::size_t cols) {
    return structs<karec_matrix>(1, [&](karec_matrix& m) {
        m.dtype = any_dtype();
        m.data = buffer<float>(rows * cols + 1);
        m.rows = said(rows);
        m.cols = one_in(30) ? said(cols) : cols;
        if (m.cols > cols && m.cols < (std::size_t{1} << 57)) m.cols = cols;
        if (one_in(4)) m.dtype = KAREC_FLOAT32;
    });
}

// The first four columns are those of the bundles' index.
inline karec_column* columns(std::size_t n, std::size_t rows) {
    constexpr const char* kNames[] = {"creator_id", "upload_ms", "type", "tone", "price", ""};
    constexpr karec_dtype kTypes[] = {KAREC_INT64, KAREC_INT64, KAREC_INT32, KAREC_FLOAT32, KAREC_UINT8, KAREC_BOOL};
    std::size_t at = 0;
    return structs<karec_column>(n, [&](karec_column& c) {
        c.name = one_in(30) ? nullptr : kNames[at % 6];
        c.dtype = one_in(30) ? static_cast<karec_dtype>(random_bits()) : kTypes[at % 6];
        ++at;
        c.data = buffer<std::int64_t>(rows);
        c.n = said(rows);
    });
}

// The code columns of an index_of_version with codes.
inline karec_column* code_columns(std::size_t n, std::size_t rows) {
    std::size_t at = 0;
    return structs<karec_column>(n, [&](karec_column& c) {
        c.name = one_in(30) ? "era" : at++ == 0 ? "tag" : "song";
        c.dtype = one_in(30) ? any_dtype() : KAREC_UINT32;
        c.data = buffer<std::uint32_t>(rows);
        c.n = rows;
    });
}

inline karec_code_table* code_tables(std::size_t n) {
    return structs<karec_code_table>(n, [](karec_code_table& t) {
        const std::size_t n_codes = length();
        auto* codes = buffer<std::uint32_t>(n_codes);
        const auto step = static_cast<std::uint32_t>(one_in(2) ? 1 : 1000);
        for (std::size_t i = 0; codes != nullptr && i < n_codes && !one_in(200); ++i) {
            codes[i] = step * static_cast<std::uint32_t>(i);
        }
        auto* values = buffer<float>(n_codes);
        for (std::size_t i = 0; values != nullptr && i < n_codes; ++i) values[i] = mostly_positive<float>();
        t.codes = codes;
        t.values = values;
        t.n = said(n_codes);
        t.other = mostly_positive<float>();
    });
}

inline karec_filter_term* filter_terms(std::size_t n) {
    constexpr const char* kNames[] = {"creator_id", "upload_ms", "type", "tone", "price", ""};
    return structs<karec_filter_term>(n, [&](karec_filter_term& t) {
        t.op = one_in(30) ? static_cast<karec_filter_op>(random_bits()) : static_cast<karec_filter_op>(1 + below(8));
        const bool is_join = t.op <= KAREC_FILTER_NOT && !one_in(20);
        t.n_parts = is_join ? 1 + below(2) : one_in(20);
        if (!is_join) t.column = kNames[below(6)];
        t.n_values = is_join || t.op == KAREC_FILTER_IS_MISSING ? 0 : t.op == KAREC_FILTER_BETWEEN ? 2 : 1;
        if (one_in(2)) t.integers = buffer<std::int64_t>(t.n_values);
        if (t.integers == nullptr || one_in(20)) t.numbers = buffer<double>(t.n_values);
        t.n_values = one_in(60) ? said(t.n_values) : t.n_values;
        t.is_category = static_cast<std::int32_t>(below(2));
    });
}

inline karec_query* queries(std::size_t n, std::size_t dim) {
    return structs<karec_query>(n, [&](karec_query& q) {
        q.n_versions = one_in(4) ? 1 + below(3) : 0;
        q.values = buffer<float>(dim * std::max<std::size_t>(q.n_versions, 1));
        q.dim = said(dim);
        q.model_versions = q.n_versions > 0 ? buffer<std::int64_t>(q.n_versions) : nullptr;
        if (one_in(2)) return;
        q.n_tables = one_in(9) ? below(4) : 2;
        q.tables = code_tables(q.n_tables * std::max<std::size_t>(q.n_versions, 1));
    });
}

inline karec_candidates* candidates(std::size_t n) {
    return structs<karec_candidates>(1, [&](karec_candidates& c) {
        if (one_in(2)) c.ids = buffer<std::int64_t>(n);
        if (c.ids == nullptr || one_in(20)) c.rows = buffer<std::int32_t>(n);
        c.n = said(n);
    });
}

inline karec_ranked* ranked(std::size_t n) {
    return structs<karec_ranked>(1, [&](karec_ranked& r) {
        r.scores = buffer<float>(n);
        r.ids = buffer<std::int64_t>(n);
        r.rows = buffer<std::int32_t>(n);
        r.positions = buffer<std::int64_t>(n);
        r.n = said(n);
    });
}

template <class T>
T* written(std::size_t n) {
    return structs<T>(n, [](T&) {});
}

inline karec_user* user() {
    return structs<karec_user>(1, [](karec_user& u) {
        const auto list = [](const std::int64_t*& ids, std::size_t& n_ids) {
            if (one_in(3)) return;
            const std::size_t n = length();
            ids = buffer<std::int64_t>(n);
            n_ids = said(n);
        };
        u.user_id = value<std::int64_t>();
        list(u.history, u.n_history);
        list(u.skipped, u.n_skipped);
        list(u.follows, u.n_follows);
        list(u.friends, u.n_friends);
        if (one_in(3)) return;
        constexpr const char* kNames[] = {"count_exposed", "count_click", "count_long_view", "count_like", ""};
        const std::size_t n = 1 + below(std::size(kNames));
        auto* names = reinterpret_cast<const char**>(buffers.emplace_back(n * sizeof(char*)).data());
        for (std::size_t i = 0; i < n; ++i) names[i] = one_in(30) ? nullptr : kNames[i];
        u.counter_names = names;
        u.n_counters = said(n);
        float* all = buffer<float>(n);
        float* in_scene = buffer<float>(n);
        for (float* each : {all, in_scene}) {
            for (std::size_t i = 0; each != nullptr && i < n; ++i) each[i] = mostly_positive<float>();
        }
        u.counters = all;
        u.scene_counters = one_in(2) ? in_scene : nullptr;
    });
}

inline karec_request* request() {
    return structs<karec_request>(1, [](karec_request& r) {
        const std::size_t n_candidates = length();
        r.candidates = buffer<std::int64_t>(n_candidates);
        if (one_in(3)) r.scores = buffer<float>(n_candidates);
        r.n_candidates = said(n_candidates);
        if (one_in(4)) r.user = user();
        if (!one_in(5)) r.user_vector = queries(1, karec::kBundleDim);
        r.time_ms = value<std::int64_t>();
        const std::size_t n_shown = length();
        r.shown = buffer<std::int64_t>(n_shown);
        r.n_shown = said(n_shown);
        r.k = one_in(10) ? random_bits() : 1 + below(20);
    });
}

inline karec_page* page() {
    return structs<karec_page>(1, [](karec_page& p) {
        p.capacity = length();
        p.ids = buffer<std::int64_t>(p.capacity);
        p.scores = buffer<float>(p.capacity);
        p.rows = buffer<std::int32_t>(p.capacity);
    });
}

inline const char* path(const std::string& good) {
    const std::string odd[] = {"", "/", "/nowhere/at all", std::string(5000, 'x')};
    static std::string held;
    held = one_in(3) ? odd[below(std::size(odd))] : good;
    return one_in(30) ? nullptr : held.c_str();
}

}  // namespace karec::random_arguments
