// The inner loops, written once and compiled for each instruction set. The including file defines, inside
// karec::<isa>::(anonymous): KAREC_TARGET (the function attribute), kLanes, Vec (kLanes floats), load_half.
//
// Order of summation of a dot product: 16 partial sums, sum j over dimensions j, j + 16, j + 32, …; then sums j and
// j + 8 are added, j and j + 4, j and j + 2, j and j + 1. Multiply and add are rounded one by one (-ffp-contract=off),
// so that every instruction set gives the same bits. Cost: one row is one pass; memory is the limit.

inline constexpr std::size_t kParts = 16 / kLanes;
inline constexpr std::size_t kPrefetchAhead = 64;  // rows; to L2, as a row is used only once

KAREC_INLINE Vec load_float(const float* at) {
    Vec v;
    std::memcpy(&v, at, sizeof v);
    return v;
}

template <std::size_t Half, std::size_t... Lane>
KAREC_INLINE Vec fold(Vec v, std::index_sequence<Lane...>) {
    return v + __builtin_shufflevector(v, v, static_cast<int>(Lane ^ Half)...);
}

KAREC_INLINE float reduce(const Vec (&parts)[kParts]) {
    Vec sums[kParts];
    for (std::size_t p = 0; p < kParts; ++p) sums[p] = parts[p];
    for (std::size_t half = kParts / 2; half > 0; half /= 2) {
        for (std::size_t p = 0; p < half; ++p) sums[p] = sums[p] + sums[p + half];
    }
    Vec v = sums[0];
    constexpr std::make_index_sequence<kLanes> lanes{};
    if constexpr (kLanes > 8) v = fold<8>(v, lanes);
    if constexpr (kLanes > 4) v = fold<4>(v, lanes);
    v = fold<2>(v, lanes);
    v = fold<1>(v, lanes);
    return v[0];
}

KAREC_INLINE Vec load_element(const float* at) {
    return load_float(at);
}
KAREC_INLINE Vec load_element(const std::uint16_t* at) {
    return load_half(at);
}

template <class Element>
KAREC_INLINE float dot(const Element* row, const float* query, std::size_t dim) {
    Vec sums[kParts] = {};
    for (std::size_t d = 0; d < dim; d += 16) {
        for (std::size_t p = 0; p < kParts; ++p) {
            const std::size_t at = d + p * kLanes;
            sums[p] = sums[p] + load_element(row + at) * load_float(query + at);
        }
    }
    return reduce(sums);
}

template <class Element>
KAREC_INLINE void dot_rows(const std::byte* base, std::size_t stride, const std::int32_t* rows, std::size_t n,
                           const float* query, std::size_t dim, float* out) {
    if (rows == nullptr) {
        for (std::size_t i = 0; i < n; ++i) {
            out[i] = dot(reinterpret_cast<const Element*>(base + i * stride), query, dim);
        }
        return;
    }
    for (std::size_t i = 0; i < n; ++i) {
        if (i + kPrefetchAhead < n && rows[i + kPrefetchAhead] >= 0) {
            const std::byte* next = base + static_cast<std::size_t>(rows[i + kPrefetchAhead]) * stride;
            for (std::size_t line = 0; line < stride; line += 64) __builtin_prefetch(next + line, 0, 2);
        }
        out[i] = rows[i] < 0 ? -std::numeric_limits<float>::infinity()
                             : dot(reinterpret_cast<const Element*>(base + static_cast<std::size_t>(rows[i]) * stride),
                                   query, dim);
    }
}

KAREC_TARGET void dot_float16(const std::byte* base, std::size_t stride, const std::int32_t* rows, std::size_t n,
                              const float* query, std::size_t dim, float* out) {
    dot_rows<std::uint16_t>(base, stride, rows, n, query, dim, out);
}

KAREC_TARGET void dot_float32(const std::byte* base, std::size_t stride, const std::int32_t* rows, std::size_t n,
                              const float* query, std::size_t dim, float* out) {
    dot_rows<float>(base, stride, rows, n, query, dim, out);
}

KAREC_TARGET void widen(const std::uint16_t* from, std::size_t n, float* to) {
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        const Vec v = load_half(from + i);
        std::memcpy(to + i, &v, sizeof v);
    }
    if (i == n) return;
    std::uint16_t rest[kLanes] = {};
    std::memcpy(rest, from + i, (n - i) * sizeof *rest);
    const Vec v = load_half(rest);
    std::memcpy(to + i, &v, (n - i) * sizeof *to);
}

// Eight accumulators at a time stay in registers whatever the vector's width.
KAREC_TARGET void project(const float* block, std::size_t dim, const float* direction, float* dots) {
    constexpr std::size_t kStep = kBlockItems < 8 * kLanes ? kBlockItems : 8 * kLanes;
    constexpr std::size_t kVecs = kStep / kLanes;
    for (std::size_t first = 0; first < kBlockItems; first += kStep) {
        Vec sums[kVecs];
        for (std::size_t j = 0; j < kVecs; ++j) sums[j] = load_float(dots + first + j * kLanes);
        for (std::size_t d = 0; d < dim; ++d) {
            const float* items = block + d * kBlockItems + first;
            for (std::size_t j = 0; j < kVecs; ++j) sums[j] = sums[j] + load_float(items + j * kLanes) * direction[d];
        }
        for (std::size_t j = 0; j < kVecs; ++j) std::memcpy(dots + first + j * kLanes, &sums[j], sizeof(Vec));
    }
}
