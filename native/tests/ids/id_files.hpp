// For tests of id files: names, files as bytes, new checksums, and two strings of one number.
#pragma once

#include <unistd.h>

#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/seal.hpp"
#include "ids/id_file.hpp"
#include "karec/string_ids.hpp"

namespace karec::id_files {

using Bytes = std::vector<char>;

class Flat {
  public:
    explicit Flat(const std::vector<std::string>& names) : offsets_{0} {
        for (const std::string& name : names) {
            text_ += name;
            offsets_.push_back(static_cast<std::int64_t>(text_.size()));
        }
    }
    Strings strings() const { return {offsets_, text_}; }

  private:
    std::vector<std::int64_t> offsets_;
    std::string text_;
};

// n different names of 1 to 256 bytes, some of them not ASCII.
inline std::vector<std::string> some_names(std::size_t n) {
    std::mt19937 random(1);
    std::vector<std::string> names;
    for (std::size_t i = 0; i < n; ++i) {
        std::string name = std::to_string(i);
        if (random() % 4 == 0) name += "-\xe6\xad\x8c\xf0\x9f\x8e\xa4";
        if (random() % 16 == 0) name += std::string(random() % (kMaxIdBytes + 1 - name.size()), 'z');
        names.push_back(name);
    }
    return names;
}

inline Bytes file_of(const std::vector<std::string>& names) {
    const std::string path = "id_files-" + std::to_string(::getpid()) + ".karec";
    if (!StringIds::build(Flat(names).strings(), path).ok()) std::abort();
    std::ifstream file(path, std::ios::binary);
    Bytes bytes{std::istreambuf_iterator<char>(file), {}};
    std::remove(path.c_str());
    return bytes;
}

// The mapping outlives the file's name.
inline Result<StringIds> open_bytes(const Bytes& bytes, bool verify) {
    const std::string path = "id_files-" + std::to_string(::getpid()) + ".karec";
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    auto ids = StringIds::open(path, verify);
    std::remove(path.c_str());
    return ids;
}

// Returns whether they open. Files that do not open must be bad_format.
inline bool opens(const Bytes& bytes, bool verify) {
    const auto ids = open_bytes(bytes, verify);
    if (!ids.ok() && ids.status().code() != Code::bad_format) std::abort();
    return ids.ok();
}

inline StringIds built(const std::vector<std::string>& names) {
    auto ids = open_bytes(file_of(names), true);
    if (!ids.ok()) std::abort();
    return ids.value();
}

// Two ASCII strings of 64 bytes that differ and have one XXH64 under `seed`.
//
// XXH64 gives every fourth word to one lane, lane ← rotl(lane + word · P2, 31) · P1. So a second word can undo the
// effect of the lane's first word: w2' = w2 + (lane1 − lane1') / P2 mod 2^64. One try in 2^8 is ASCII.
inline std::pair<std::string, std::string> two_of_one_number(std::uint64_t seed) {
    constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u;
    constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Fu;
    std::uint64_t inverse = 1;  // of kPrime2 mod 2^64, by Newton's method
    for (int step = 0; step < 6; ++step) inverse *= 2 - kPrime2 * inverse;
    const auto after = [&](std::uint64_t word) {
        return std::rotl(seed + kPrime1 + kPrime2 + word * kPrime2, 31) * kPrime1;
    };
    const std::string one(64, 'a');
    const std::uint64_t plain = 0x6161616161616161u;
    std::mt19937_64 random(1);
    for (;;) {
        const std::uint64_t first = plain ^ (random() & 0x0F0F0F0F0F0F0F0Fu);
        const std::uint64_t second = plain + (after(plain) - after(first)) * inverse;
        if (first == plain || (second & 0x8080808080808080u) != 0) continue;
        std::string other = one;
        std::memcpy(other.data(), &first, 8);
        std::memcpy(other.data() + 32, &second, 8);
        return {one, other};
    }
}

}  // namespace karec::id_files
