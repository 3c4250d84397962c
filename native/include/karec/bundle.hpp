// A published bundle, as C++ sees it: the folder that `current` names, its files and their sums.
//
// Python publishes it (docs/formats.md); its manifest.txt says the same as manifest.json in lines, and carries a seal.
// Functions never throw. A Bundle is a value: reading it in many threads at once is safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

class KAREC_API Bundle {
  public:
    // The bundle at `root`: a bundle's folder, or a folder that holds `current`. Reads manifest.txt alone.
    // io_error: it cannot be read; bad_format: it is not whole, was altered, or is newer than this library.
    static Result<Bundle> open(const std::string& root) noexcept;

    const std::string& path() const noexcept { return path_; }  // absolute, without symbolic links
    std::int64_t model_version() const noexcept { return model_version_; }

    std::vector<std::string> names() const;  // of its files, in the manifest's order

    // The path of a file of the bundle, for example "index.karec". With `verify`, every byte of it is read and its size
    // and XXH64 compared with the manifest's, O(bytes); else its size alone.
    Result<std::string> file(std::string_view name, bool verify) const noexcept;

    // The XXH64 that the manifest says of a file, whether or not its bytes have it.
    Result<std::uint64_t> sum(std::string_view name) const noexcept;

  private:
    struct File {
        std::string name;
        std::uint64_t bytes;
        std::uint64_t xxh64;
    };
    std::string path_;
    std::int64_t model_version_ = 0;
    std::vector<File> files_;
};

// The folder that Bundle::open would read now, without reading it: whoever polls compares it with path().
KAREC_API Result<std::string> current_bundle(const std::string& root) noexcept;

}  // namespace karec
