// Reads or maps a regular file that another process wrote.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/buffer.hpp"
#include "karec/status.hpp"

namespace karec {

// A regular file that is open for reading. io_error for a folder, a FIFO or a device, without waiting for its writer.
class RegularFile {
  public:
    static Result<RegularFile> open(const std::string& path);

    int descriptor() const noexcept { return descriptor_; }
    std::size_t size() const noexcept { return size_; }  // bytes, at opening

    RegularFile(RegularFile&& other) noexcept;
    RegularFile& operator=(RegularFile&& other) noexcept;
    ~RegularFile();

  private:
    RegularFile(int descriptor, std::size_t size) noexcept : descriptor_(descriptor), size_(size) {}
    int descriptor_;
    std::size_t size_;
};

// A copy of a file in memory, at a multiple of 64.
class FileCopy {
  public:
    // io_error: the file cannot be read, or became shorter meanwhile.
    static Result<FileCopy> read(const std::string& path);

    std::span<const std::byte> bytes() const noexcept { return bytes_; }

  private:
    Buffer memory_;
    std::span<const std::byte> bytes_;
};

// A file, mapped read-only. Replace such a file by a rename: the mapping still has the old contents. Overwriting it in
// place changes the mapped bytes; shortening it ends readers with SIGBUS.
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
