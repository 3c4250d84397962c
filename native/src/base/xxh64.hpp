#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace karec {

// XXH64 (Y. Collet, https://xxhash.com): every step is a bijection of its 8-byte word, so that a change
// within one word always changes the sum. Streams: update() any number of times, then digest().
class Xxh64 {
  public:
    explicit Xxh64(std::uint64_t seed = 0) noexcept;
    void update(std::span<const std::byte> bytes) noexcept;
    std::uint64_t digest() const noexcept;

  private:
    std::uint64_t seed_;
    std::uint64_t lanes_[4];
    std::uint64_t total_ = 0;
    std::size_t held_ = 0;
    std::byte tail_[32];
};

std::uint64_t xxh64(std::span<const std::byte> bytes, std::uint64_t seed = 0) noexcept;

}  // namespace karec
