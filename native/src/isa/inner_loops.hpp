// The inner loops, written once and compiled for each instruction set. The including file defines, inside
// karec::<isa>::(anonymous): KAREC_TARGET (the function attribute), kLanes, Vec (kLanes floats), load_half, IntVec
// (kLanes int32), madd (kLanes sums of two products int8·int16 each), fold<Width> (of vectors a and b, in which rows
// have Width partial sums each, the vector in which they have half as many: the rows of a, then those of b; for Width ≤
// 4 so within each 128-bit lane, which is cheaper than across).
//
// Order of summation of a dot product: 16 partial sums, sum j over dimensions j, j + 16, j + 32, …; then sums j and
// j + 8 are added, j and j + 4, j and j + 2, j and j + 1. Multiply and add are rounded one by one (-ffp-contract=off),
// so that every instruction set gives the same bits. Cost: one row is one pass; memory is the limit.

inline constexpr std::size_t kParts = 16 / kLanes;

KAREC_INLINE Vec load_float(const float* at) {
    Vec v;
    std::memcpy(&v, at, sizeof v);
    return v;
}

KAREC_INLINE Vec load_element(const float* at) {
    return load_float(at);
}
KAREC_INLINE Vec load_element(const std::uint16_t* at) {
    return load_half(at);
}

// rows[r] holds the kLanes partial sums of row r: lane r of the result is their sum.
template <class V>
KAREC_INLINE V fold_rows(const V (&rows)[kLanes]) {
    V by_four[4];  // by_four[m]: four sums each of the rows m, m + 4, m + 8, … , one row a 128-bit lane
    for (std::size_t m = 0; m < 4; ++m) {
        if constexpr (kLanes > 8) {
            by_four[m] = fold<8>(fold<16>(rows[m], rows[m + 4]), fold<16>(rows[m + 8], rows[m + 12]));
        } else if constexpr (kLanes > 4) {
            by_four[m] = fold<8>(rows[m], rows[m + 4]);
        } else {
            by_four[m] = rows[m];
        }
    }
    return fold<2>(fold<4>(by_four[0], by_four[1]), fold<4>(by_four[2], by_four[3]));
}

template <class Element>
KAREC_INLINE Vec partial_sums(const std::byte* row, const float* query, std::size_t dim) {
    const auto* elements = reinterpret_cast<const Element*>(row);
    Vec sums[kParts] = {};
    for (std::size_t d = 0; d < dim; d += 16) {
        for (std::size_t p = 0; p < kParts; ++p) {
            const std::size_t at = d + p * kLanes;
            sums[p] = sums[p] + load_element(elements + at) * load_float(query + at);
        }
    }
    for (std::size_t half = kParts / 2; half > 0; half /= 2) {
        for (std::size_t p = 0; p < half; ++p) sums[p] = sums[p] + sums[p + half];
    }
    return sums[0];
}

KAREC_INLINE IntVec integer_sums(const std::byte* row, const std::int16_t* query, std::size_t dim) {
    const auto* elements = reinterpret_cast<const std::int8_t*>(row);
    IntVec sums[2] = {};
    for (std::size_t d = 0; d < dim; d += 4 * kLanes) {
        sums[0] = sums[0] + madd(elements + d, query + d);
        sums[1] = sums[1] + madd(elements + d + 2 * kLanes, query + d + 2 * kLanes);
    }
    return sums[0] + sums[1];
}

KAREC_INLINE void fetch(const std::byte* row, std::size_t bytes) {
    for (std::size_t line = 0; line < bytes; line += 64) __builtin_prefetch(row + line, 0, 2);
}

// out[i] = the folded sums_of(rows[i]); kLanes rows at a time, the last ones filled up with a row that is there.
template <class V, class Out, class SumsOf>
KAREC_INLINE void for_rows(const std::byte* const* rows, const std::byte* const* next, std::size_t n, std::size_t bytes,
                           SumsOf&& sums_of, Out* out) {
    V sums[kLanes];
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        for (std::size_t r = 0; r < kLanes; ++r) {
            if (next != nullptr) fetch(next[i + r], bytes);
            sums[r] = sums_of(rows[i + r]);
        }
        const V folded = fold_rows(sums);
        std::memcpy(out + i, &folded, sizeof folded);
    }
    if (i == n) return;
    for (std::size_t r = 0; r < kLanes; ++r) {
        const std::size_t at = i + r < n ? i + r : i;
        if (next != nullptr) fetch(next[at], bytes);
        sums[r] = sums_of(rows[at]);
    }
    const V folded = fold_rows(sums);
    std::memcpy(out + i, &folded, (n - i) * sizeof *out);
}

KAREC_TARGET void dot_float16(const std::byte* const* rows, const std::byte* const* next, std::size_t n,
                              const float* query, std::size_t dim, float* out) {
    const auto sums_of = [=](const std::byte* row)
                             KAREC_LAMBDA { return partial_sums<std::uint16_t>(row, query, dim); };
    for_rows<Vec>(rows, next, n, dim * sizeof(std::uint16_t), sums_of, out);
}

KAREC_TARGET void dot_float32(const std::byte* const* rows, const std::byte* const* next, std::size_t n,
                              const float* query, std::size_t dim, float* out) {
    const auto sums_of = [=](const std::byte* row) KAREC_LAMBDA { return partial_sums<float>(row, query, dim); };
    for_rows<Vec>(rows, next, n, dim * sizeof(float), sums_of, out);
}

KAREC_TARGET void dot_int8(const std::byte* const* rows, const std::byte* const* next, std::size_t n,
                           const std::int16_t* query, std::size_t dim, std::int32_t* out) {
    const auto sums_of = [=](const std::byte* row) KAREC_LAMBDA { return integer_sums(row, query, dim); };
    for_rows<IntVec>(rows, next, n, dim, sums_of, out);
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

// Lanes are rows here, so that their 16 sums are added without moving a lane. Half of the sums of two vectors of rows
// (one, where registers are few) stay in registers at a time.
KAREC_TARGET void dot_packed(const float* block, std::size_t dim, const float* query, float* out) {
    constexpr std::size_t kHalf = 8;
    constexpr std::size_t kVecs = kLanes > 8 ? 2 : 1;
    for (std::size_t first = 0; first < kBlockItems; first += kVecs * kLanes) {
        Vec parts[2][kHalf][kVecs];
        for (std::size_t half = 0; half < 2; ++half) {
            Vec sums[kHalf][kVecs] = {};
            for (std::size_t d = half * kHalf; d < dim; d += 16) {
                for (std::size_t j = 0; j < kHalf; ++j) {
                    const float* items = block + (d + j) * kBlockItems + first;
                    for (std::size_t v = 0; v < kVecs; ++v) {
                        sums[j][v] = sums[j][v] + load_float(items + v * kLanes) * query[d + j];
                    }
                }
            }
            std::memcpy(&parts[half], &sums, sizeof sums);
        }
        for (std::size_t v = 0; v < kVecs; ++v) {
            for (std::size_t j = 0; j < kHalf; ++j) parts[0][j][v] = parts[0][j][v] + parts[1][j][v];
            for (std::size_t width = kHalf / 2; width > 0; width /= 2) {
                for (std::size_t j = 0; j < width; ++j) parts[0][j][v] = parts[0][j][v] + parts[0][j + width][v];
            }
            std::memcpy(out + first + v * kLanes, &parts[0][0][v], sizeof(Vec));
        }
    }
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
