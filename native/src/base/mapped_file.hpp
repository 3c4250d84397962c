// A file of another writer, mapped read-only.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "karec/status.hpp"

namespace karec {

// A whole file, mapped read-only; closed by the destructor. To replace the file, rename a new one over it: the mapping
// keeps the old contents. Shortening or overwriting it in place changes the memory under its readers, or ends them
// with SIGBUS.
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
