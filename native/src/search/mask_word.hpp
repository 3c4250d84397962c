// mask_word: 64 bytes of a row mask as bits.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace karec {

// Bit i is set if mask[first + i] is not 0; rows after the end of the mask are 0. Cost: 8 steps of 8 bytes.
inline std::uint64_t mask_word(std::span<const std::uint8_t> mask, std::size_t first) noexcept {
    static_assert(std::endian::native == std::endian::little);
    constexpr std::size_t kWord = 64;
    std::uint64_t word = 0;
    if (first + kWord > mask.size()) {
        for (std::size_t i = 0; first + i < mask.size(); ++i) {
            word |= std::uint64_t{mask[first + i] != 0} << i;
        }
        return word;
    }
    for (std::size_t i = 0; i < kWord; i += 8) {
        std::uint64_t bytes;
        std::memcpy(&bytes, &mask[first + i], sizeof bytes);
        bytes |= bytes >> 4;
        bytes |= bytes >> 2;
        bytes |= bytes >> 1;
        bytes &= 0x0101010101010101U;  // the lowest bit of each byte: the byte is not 0
        word |= (bytes * 0x0102040810204080U >> 56) << i;
    }
    return word;
}

}  // namespace karec
