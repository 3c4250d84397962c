// XXH64, a checksum of 64 bits (Y. Collet, https://xxhash.com). Every step is a bijection of its 8-byte word: a change
// in one word always changes the sum. Threads: any, each with its own object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace karec {

// The sum of a stream: any number of update(), then digest().
class Xxh64 {
  public:
    explicit Xxh64(std::uint64_t seed = 0) noexcept;
    void update(std::span<const std::byte> bytes) noexcept;
    std::uint64_t digest() const noexcept;

  private:
    std::uint64_t seed_;
    std::uint64_t lanes_[4];
    std::uint64_t total_ = 0;
    std::size_t tail_size_ = 0;
    std::byte tail_[32];
};

std::uint64_t xxh64(std::span<const std::byte> bytes, std::uint64_t seed = 0) noexcept;

}  // namespace karec
