// A file of requests that a Python test wrote for a C++ host: int64 words, and arrays padded to 8 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace karec {

class Words {
  public:
    explicit Words(const char* path) {
        std::ifstream file(path, std::ios::binary);
        bytes_.assign(std::istreambuf_iterator<char>(file), {});
    }
    std::int64_t word() {
        std::int64_t value = 0;
        std::memcpy(&value, take(8), 8);
        return value;
    }
    std::size_t size() { return static_cast<std::size_t>(word()); }
    const char* take(std::size_t n) {
        const char* at = bytes_.data() + at_;
        at_ += (n + 7) / 8 * 8;
        return at;
    }
    // A length, then as many bytes.
    std::string text() {
        const std::size_t n = size();
        return {take(n), n};
    }
    template <class T>
    std::vector<T> array(std::size_t n) {
        std::vector<T> values(n);
        std::memcpy(values.data(), take(n * sizeof(T)), n * sizeof(T));
        return values;
    }

  private:
    std::vector<char> bytes_;
    std::size_t at_ = 0;
};

}  // namespace karec
