// Bytes that the index owns, and bytes of a file that it maps.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "karec/status.hpp"

namespace karec {

// Zeroed bytes, aligned to cache lines; from 2 MiB on to huge pages, which the kernel is asked for: random rows cost
// 1.2 to 1.8 times as much on 4-KiB pages.
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::size_t bytes);  // throws std::bad_alloc

    template <class T>
    std::span<T> as() noexcept {
        return {reinterpret_cast<T*>(bytes_.get()), size_ / sizeof(T)};
    }

  private:
    struct Free {
        void operator()(std::byte* bytes) const noexcept;
    };
    std::unique_ptr<std::byte[], Free> bytes_;
    std::size_t size_ = 0;
};

// A whole file, mapped read-only. Whoever replaces the file must rename over it: shortening it in place would take the
// pages away under the reader.
class MappedFile {
  public:
    static Result<MappedFile> open(const std::string& path);

    std::span<const std::byte> bytes() const noexcept { return bytes_; }

    MappedFile() = default;
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    ~MappedFile();

  private:
    std::span<const std::byte> bytes_;
};

}  // namespace karec
