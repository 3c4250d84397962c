// XXH64, written from its specification (github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). O(n), about 10 GB/s.
#include "base/xxh64.hpp"

#include <bit>
#include <cstring>

namespace karec {
namespace {

static_assert(std::endian::native == std::endian::little,
              "index files are little-endian and mapped without conversion");

constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u;
constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Fu;
constexpr std::uint64_t kPrime3 = 0x165667B19E3779F9u;
constexpr std::uint64_t kPrime4 = 0x85EBCA77C2B2AE63u;
constexpr std::uint64_t kPrime5 = 0x27D4EB2F165667C5u;

template <class T>
T load(const std::byte* bytes) noexcept {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

std::uint64_t mix(std::uint64_t lane, std::uint64_t word) noexcept {
    return std::rotl(lane + word * kPrime2, 31) * kPrime1;
}

std::uint64_t merge_lane(std::uint64_t sum, std::uint64_t lane) noexcept {
    return (sum ^ mix(0, lane)) * kPrime1 + kPrime4;
}

}  // namespace

Xxh64::Xxh64(std::uint64_t seed) noexcept
    : seed_(seed), lanes_{seed + kPrime1 + kPrime2, seed + kPrime2, seed, seed - kPrime1} {}

void Xxh64::update(std::span<const std::byte> bytes) noexcept {
    total_ += bytes.size();
    const std::byte* at = bytes.data();
    std::size_t left = bytes.size();
    const auto stripe = [this](const std::byte* from) {
        for (std::size_t j = 0; j < 4; ++j) lanes_[j] = mix(lanes_[j], load<std::uint64_t>(from + 8 * j));
    };
    if (tail_size_ > 0) {
        const std::size_t n = left < 32 - tail_size_ ? left : 32 - tail_size_;
        if (n > 0) std::memcpy(tail_ + tail_size_, at, n);
        tail_size_ += n;
        at += n;
        left -= n;
        if (tail_size_ < 32) return;
        stripe(tail_);
        tail_size_ = 0;
    }
    for (; left >= 32; at += 32, left -= 32) stripe(at);
    if (left > 0) std::memcpy(tail_, at, left);
    tail_size_ = left;
}

std::uint64_t Xxh64::digest() const noexcept {
    std::uint64_t sum = seed_ + kPrime5;
    if (total_ >= 32) {
        sum = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
        for (const std::uint64_t lane : lanes_) sum = merge_lane(sum, lane);
    }
    sum += total_;
    const std::byte* at = tail_;
    std::size_t left = tail_size_;
    for (; left >= 8; at += 8, left -= 8) {
        sum = std::rotl(sum ^ mix(0, load<std::uint64_t>(at)), 27) * kPrime1 + kPrime4;
    }
    if (left >= 4) {
        sum = std::rotl(sum ^ load<std::uint32_t>(at) * kPrime1, 23) * kPrime2 + kPrime3;
        at += 4;
        left -= 4;
    }
    for (; left > 0; ++at, --left) sum = std::rotl(sum ^ load<std::uint8_t>(at) * kPrime5, 11) * kPrime1;
    sum = (sum ^ sum >> 33) * kPrime2;
    sum = (sum ^ sum >> 29) * kPrime3;
    return sum ^ sum >> 32;
}

std::uint64_t xxh64(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
    Xxh64 sum(seed);
    sum.update(bytes);
    return sum.digest();
}

}  // namespace karec
