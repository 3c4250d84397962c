// The inner loops of DPP, MMR and SSD, written once and compiled for each instruction set, beside inner_loops.hpp; the
// order of summation is the same for every width. In float32 the hot loop multiplies and adds with one rounding
// (`fused`, which the including file defines), in float64 both are rounded one by one.

#pragma GCC diagnostic ignored "-Wpsabi"  // what takes or returns a vector is inlined: there is no ABI to change

inline constexpr std::size_t kDoubles = kLanes / 2;
inline constexpr std::size_t kEighth = 8 / kDoubles;  // vectors that hold eight doubles
using Doubles = double __attribute__((vector_size(sizeof(Vec))));

KAREC_INLINE Doubles load_doubles(const double* at) {
    Doubles v;
    std::memcpy(&v, at, sizeof v);
    return v;
}

KAREC_INLINE double tree(const Doubles (&sums)[kEighth]) {
    using Four = double __attribute__((vector_size(32)));
    using Two = double __attribute__((vector_size(16)));
    Four fours[2];
    std::memcpy(fours, sums, sizeof fours);
    const Four four = fours[0] + fours[1];
    const Two two = __builtin_shufflevector(four, four, 0, 1) + __builtin_shufflevector(four, four, 2, 3);
    return two[0] + two[1];
}

KAREC_INLINE void to_floats(const float* from, std::size_t n, float* to) {
    std::memcpy(to, from, n * sizeof *to);
}
KAREC_INLINE void to_floats(const std::uint16_t* from, std::size_t n, float* to) {
    std::uint16_t padded[kLanes > 8 ? kLanes : 8] = {};
    std::memcpy(padded, from, n * sizeof *from);
    for (std::size_t i = 0; i < 8; i += kLanes) {
        const Vec v = load_half(padded + i);
        std::memcpy(to + i, &v, kLanes > 8 ? 32 : sizeof v);
    }
}

KAREC_INLINE void add_squares(const float* eight, Doubles (&sums)[kEighth]) {
    for (std::size_t e = 0; e < kEighth; ++e) {
        const Doubles x = widened(eight + e * kDoubles);
        sums[e] = sums[e] + x * x;
    }
}
KAREC_INLINE void add_squares(const std::uint16_t* halves, Doubles (&sums)[kEighth]) {
    float eight[8];
    to_floats(halves, 8, eight);
    add_squares(eight, sums);
}

template <class Element>
KAREC_INLINE void squared_norms(const void* const* rows, std::size_t n, std::size_t dim, double* out) {
    constexpr std::size_t kAhead = 8;
    for (std::size_t r = 0; r < n; ++r) {
        if (r + kAhead < n) fetch(static_cast<const std::byte*>(rows[r + kAhead]), dim * sizeof(Element));
        const auto* row = static_cast<const Element*>(rows[r]);
        Doubles sums[kEighth] = {};
        std::size_t d = 0;
        for (; d + 8 <= dim; d += 8) add_squares(row + d, sums);
        if (d < dim) {
            float rest[8] = {};
            to_floats(row + d, dim - d, rest);
            add_squares(rest, sums);
        }
        out[r] = tree(sums);
    }
}

KAREC_TARGET void squared_norms_float32(const void* const* rows, std::size_t n, std::size_t dim, double* out) {
    squared_norms<float>(rows, n, dim, out);
}

KAREC_TARGET void squared_norms_float16(const void* const* rows, std::size_t n, std::size_t dim, double* out) {
    squared_norms<std::uint16_t>(rows, n, dim, out);
}

// Swaps the bit `Half` of row and lane, so that a pass over all bits transposes kLanes × kLanes numbers.
template <std::size_t Half, std::size_t... Lane>
KAREC_INLINE void swap_bit(Vec* rows, std::index_sequence<Lane...>) {
    for (std::size_t i = 0; i < kLanes; ++i) {
        if ((i & Half) != 0) continue;
        const Vec a = rows[i];
        const Vec b = rows[i + Half];
        rows[i] = __builtin_shufflevector(a, b, static_cast<int>((Lane & Half) == 0 ? Lane : kLanes + Lane - Half)...);
        rows[i + Half] =
            __builtin_shufflevector(a, b, static_cast<int>((Lane & Half) == 0 ? Lane + Half : kLanes + Lane)...);
    }
}

KAREC_INLINE void transpose(Vec* rows) {
    constexpr std::make_index_sequence<kLanes> lanes{};
    swap_bit<1>(rows, lanes);
    swap_bit<2>(rows, lanes);
    if constexpr (kLanes > 4) swap_bit<4>(rows, lanes);
    if constexpr (kLanes > 8) swap_bit<8>(rows, lanes);
}

KAREC_INLINE Vec scaled(Vec x, float factor) {
    return x * factor;
}
KAREC_INLINE Vec scaled(Vec x, double factor) {
    using Wide = double __attribute__((vector_size(sizeof(Vec) * 2)));
    return __builtin_convertvector(__builtin_convertvector(x, Wide) * factor, Vec);
}

// Scale is float where every factor is an ordinary float; else double, so that nothing overflows on its way to
// length 1.
template <class Element, class Scale>
KAREC_INLINE void pack_scaled(const void* const* rows, const Scale* factors, std::size_t dim, float* block) {
    for (std::size_t first = 0; first < kBlockItems; first += kLanes) {
        std::size_t d = 0;
        for (; d + kLanes <= dim; d += kLanes) {
            Vec tile[kLanes];
            for (std::size_t i = 0; i < kLanes; ++i) {
                const Vec x = load_element(static_cast<const Element*>(rows[first + i]) + d);
                tile[i] = scaled(x, factors[first + i]);
            }
            transpose(tile);
            for (std::size_t j = 0; j < kLanes; ++j) {
                std::memcpy(block + (d + j) * kBlockItems + first, &tile[j], sizeof(Vec));
            }
        }
        for (; d < dim; ++d) {
            for (std::size_t i = first; i < first + kLanes; ++i) {
                float x[8];
                to_floats(static_cast<const Element*>(rows[i]) + d, 1, x);
                block[d * kBlockItems + i] = static_cast<float>(factors[i] * static_cast<Scale>(x[0]));
            }
        }
    }
}

template <class Element>
KAREC_INLINE void pack(const void* const* rows, const double* squared_norms, double scale, std::size_t dim,
                       float* block) {
    double factors[kBlockItems];
    float rounded[kBlockItems];
    bool ordinary = true;
    for (std::size_t i = 0; i < kBlockItems; i += kDoubles) {
        const Doubles norms = load_doubles(squared_norms + i);
        const Doubles factor = norms > 0.0 ? scale / roots(norms) : Doubles{};
        std::memcpy(factors + i, &factor, sizeof factor);
    }
    for (std::size_t i = 0; i < kBlockItems; ++i) {
        rounded[i] = static_cast<float>(factors[i]);
        ordinary &= factors[i] == 0.0 || (factors[i] > 0x1p-60 && factors[i] < 0x1p60);
    }
    if (ordinary) {
        pack_scaled<Element, float>(rows, rounded, dim, block);
    } else {
        pack_scaled<Element, double>(rows, factors, dim, block);
    }
}

KAREC_TARGET void pack_float32(const void* const* rows, const double* squared_norms, double scale, std::size_t dim,
                               float* block) {
    pack<float>(rows, squared_norms, scale, dim, block);
}

KAREC_TARGET void pack_float16(const void* const* rows, const double* squared_norms, double scale, std::size_t dim,
                               float* block) {
    pack<std::uint16_t>(rows, squared_norms, scale, dim, block);
}

// As many accumulators as the registers hold: 16 of 32 in AVX-512, 8 of 16 elsewhere.
template <std::size_t Count>
KAREC_INLINE void explain_by(const float* block, std::size_t dim, const float* directions, const float* start,
                             float* rho) {
    constexpr std::size_t kVecs = kLanes > 8 || Count <= 2 ? 4 : 2;
    for (std::size_t first = 0; first < kBlockItems; first += kVecs * kLanes) {
        Vec sums[Count][kVecs];
        for (std::size_t s = 0; s < Count; ++s) {
            for (std::size_t v = 0; v < kVecs; ++v) {
                sums[s][v] = start == nullptr ? Vec{} : load_float(start + s * kBlockItems + first + v * kLanes);
            }
        }
        for (std::size_t d = 0; d < dim; ++d) {
            Vec items[kVecs];
            for (std::size_t v = 0; v < kVecs; ++v) items[v] = load_float(block + d * kBlockItems + first + v * kLanes);
            for (std::size_t s = 0; s < Count; ++s) {
                const Vec u = directions[s * dim + d] - Vec{};
                for (std::size_t v = 0; v < kVecs; ++v) sums[s][v] = fused(items[v], u, sums[s][v]);
            }
        }
        for (std::size_t v = 0; v < kVecs; ++v) {
            float* at = rho + first + v * kLanes;
            Vec left = load_float(at);
            for (std::size_t s = 0; s < Count; ++s) left = fused(-sums[s][v], sums[s][v], left);
            std::memcpy(at, &left, sizeof left);
        }
    }
}

KAREC_TARGET void explain(const float* block, std::size_t dim, const float* directions, std::size_t n,
                          const float* start, float* rho) {
    switch (n) {
        case 1:
            return explain_by<1>(block, dim, directions, start, rho);
        case 2:
            return explain_by<2>(block, dim, directions, start, rho);
        case 3:
            return explain_by<3>(block, dim, directions, start, rho);
        default:
            return explain_by<4>(block, dim, directions, start, rho);
    }
}

KAREC_TARGET double gains(const double* q2, const float* rho, const float* least, double* out) {
    Doubles largest = {};
    for (std::size_t i = 0; i < kBlockItems; i += kDoubles) {
        const Doubles left = widened(rho + i);
        const Doubles gain = left > widened(least + i) ? load_doubles(q2 + i) * left : Doubles{};
        std::memcpy(out + i, &gain, sizeof gain);
        largest = gain > largest ? gain : largest;
    }
    double best = largest[0];
    for (std::size_t j = 1; j < kDoubles; ++j) best = largest[j] > best ? largest[j] : best;
    return best;
}

KAREC_INLINE double dot_of(const double* a, const double* b, std::size_t n) {
    Doubles sums[kEighth] = {};
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (std::size_t e = 0; e < kEighth; ++e) {
            const std::size_t at = i + e * kDoubles;
            sums[e] = sums[e] + load_doubles(a + at) * load_doubles(b + at);
        }
    }
    for (; i < n; ++i) sums[i % 8 / kDoubles][i % kDoubles] += a[i] * b[i];
    return tree(sums);
}

// Dimensions d … d + kDoubles·Tiles − 1 of `out` stay in registers while all directions are taken from them.
template <std::size_t Tiles>
KAREC_INLINE void take_parts(const double* directions, std::size_t n, std::size_t dim, std::size_t d,
                             const double* feature, const double* parts, double* out) {
    Doubles left[Tiles] = {};
    for (std::size_t t = 0; t < Tiles && feature != nullptr; ++t) left[t] = load_doubles(feature + d + kDoubles * t);
    for (std::size_t s = 0; s < n; ++s) {
        const double* u = directions + s * dim + d;
        for (std::size_t t = 0; t < Tiles; ++t) left[t] = left[t] - load_doubles(u + kDoubles * t) * parts[s];
    }
    for (std::size_t t = 0; t < Tiles; ++t) std::memcpy(out + d + kDoubles * t, &left[t], sizeof left[t]);
}

// out = feature (nullptr = zeros) − Σ_s parts[s]·direction s.
KAREC_INLINE void take_all_parts(const double* directions, std::size_t n, std::size_t dim, const double* feature,
                                 const double* parts, double* out) {
    std::size_t d = 0;
    for (; d + 4 * kDoubles <= dim; d += 4 * kDoubles) take_parts<4>(directions, n, dim, d, feature, parts, out);
    for (; d + kDoubles <= dim; d += kDoubles) take_parts<1>(directions, n, dim, d, feature, parts, out);
    for (; d < dim; ++d) {
        out[d] = feature == nullptr ? 0.0 : feature[d];
        for (std::size_t s = 0; s < n; ++s) out[d] -= directions[s * dim + d] * parts[s];
    }
}

KAREC_TARGET double project_out(const double* directions, std::size_t n, std::size_t dim, const double* feature,
                                double* parts, double* out) {
    double explained = 0.0;
    for (std::size_t s = 0; s < n; ++s) parts[s] = dot_of(directions + s * dim, feature, dim);
    for (std::size_t s = 0; s < n; ++s) explained += parts[s] * parts[s];
    take_all_parts(directions, n, dim, feature, parts, out);
    return explained;
}

KAREC_TARGET double apply_matrix(const double* matrix, std::size_t dim, const double* feature, double* out) {
    take_all_parts(matrix, dim, dim, nullptr, feature, out);
    for (std::size_t d = 0; d < dim; ++d) out[d] = -out[d];
    return dot_of(feature, feature, dim) - dot_of(feature, out, dim);
}

KAREC_TARGET void take_outer(const double* direction, std::size_t dim, double* matrix) {
    for (std::size_t j = 0; j < dim; ++j) {
        const double factor = direction[j];
        double* row = matrix + j * dim;
        for (std::size_t i = 0; i < dim; ++i) row[i] -= factor * direction[i];
    }
}

// Columns d … d + kDoubles·Tiles − 1: each piece of the matrix is stored and applied while it is at hand.
template <std::size_t Tiles>
KAREC_INLINE void take_and_apply(const double* direction, std::size_t dim, std::size_t d, double* matrix,
                                 const double* feature, double* out) {
    Doubles u[Tiles];
    Doubles sums[Tiles] = {};
    for (std::size_t t = 0; t < Tiles; ++t) u[t] = load_doubles(direction + d + kDoubles * t);
    for (std::size_t j = 0; j < dim; ++j) {
        double* at = matrix + j * dim + d;
        for (std::size_t t = 0; t < Tiles; ++t) {
            const Doubles left = load_doubles(at + kDoubles * t) - direction[j] * u[t];
            sums[t] = sums[t] + left * feature[j];
            std::memcpy(at + kDoubles * t, &left, sizeof left);
        }
    }
    for (std::size_t t = 0; t < Tiles; ++t) std::memcpy(out + d + kDoubles * t, &sums[t], sizeof sums[t]);
}

KAREC_TARGET double take_outer_and_apply(const double* direction, std::size_t dim, double* matrix,
                                         const double* feature, double* out) {
    std::size_t d = 0;
    for (; d + 4 * kDoubles <= dim; d += 4 * kDoubles) take_and_apply<4>(direction, dim, d, matrix, feature, out);
    for (; d + kDoubles <= dim; d += kDoubles) take_and_apply<1>(direction, dim, d, matrix, feature, out);
    for (; d < dim; ++d) {
        out[d] = 0.0;
        for (std::size_t j = 0; j < dim; ++j) {
            double& entry = matrix[j * dim + d];
            entry -= direction[j] * direction[d];
            out[d] += entry * feature[j];
        }
    }
    return dot_of(feature, feature, dim) - dot_of(feature, out, dim);
}

KAREC_TARGET void exps(const double* x, std::size_t n, double* out) {
    for (std::size_t i = 0; i < n; ++i) out[i] = fixed_exp(x[i]);
}

constexpr DiversityLoops kDiversityLoops = {
    squared_norms_float32, squared_norms_float16, pack_float32, pack_float16,         explain, gains,
    project_out,           apply_matrix,          take_outer,   take_outer_and_apply, exps};
