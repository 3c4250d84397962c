// A regular file of another writer, read whole or mapped.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/buffer.hpp"
#include "karec/status.hpp"

namespace karec {

// A regular file, opened for reading; closed by the destructor. A folder, a FIFO or a device is refused at once,
// without waiting for its other end.
class RegularFile {
  public:
    static Result<RegularFile> open(const std::string& path);

    int descriptor() const noexcept { return descriptor_; }
    std::size_t size() const noexcept { return size_; }  // bytes, when it was opened

    RegularFile(RegularFile&& other) noexcept;
    RegularFile& operator=(RegularFile&& other) noexcept;
    ~RegularFile();

  private:
    RegularFile(int descriptor, std::size_t size) noexcept : descriptor_(descriptor), size_(size) {}
    int descriptor_;
    std::size_t size_;
};

// "cannot read 'path': …", with that errno.
Status cannot_read(const std::string& path, int error);

// A whole file in memory of its own, at a multiple of 64: what happens to the file later does not show.
class FileCopy {
  public:
    // io_error: it cannot be read, or became shorter while it was read.
    static Result<FileCopy> read(const std::string& path);

    std::span<const std::byte> bytes() const noexcept { return bytes_; }

  private:
    Buffer memory_;
    std::span<const std::byte> bytes_;
};

// A whole file, mapped read-only; unmapped by the destructor. To replace the file, rename a new one over it: the
// mapping keeps the old contents. Shortening or overwriting it in place changes the memory under its readers, or ends
// them with SIGBUS.
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
