#include "karec/assignment.hpp"

#include <charconv>

#include "base/boundary.hpp"

namespace karec {
namespace {

std::uint32_t fnv32a(std::string_view bytes, std::uint32_t state = 0x811c9dc5u) noexcept {
    for (const char byte : bytes) state = (state ^ static_cast<unsigned char>(byte)) * 0x01000193u;
    return state;
}

}  // namespace

Result<std::uint32_t> unit_bucket(std::string_view seed, std::string_view unit_id) noexcept {
    return at_boundary([&]() -> Result<std::uint32_t> {
        if (unit_id.empty()) return Status::invalid("unit_id is empty, expected an id");
        char digits[10];
        const char* end = std::to_chars(digits, digits + sizeof digits, fnv32a(unit_id, fnv32a(seed))).ptr;
        return fnv32a({digits, static_cast<std::size_t>(end - digits)}) % kUnitBuckets;
    });
}

int choose_arm(std::uint32_t bucket, std::span<const double> weights, double coverage) noexcept {
    const double point = static_cast<double>(bucket) / kUnitBuckets;
    double start = 0.0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        if (start <= point && point < start + coverage * weights[i]) return static_cast<int>(i);
        start += weights[i];
    }
    return -1;
}

}  // namespace karec
