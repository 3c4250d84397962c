// A published bundle: the folder that `current` names, its files and their checksums (docs/formats.md).
//
// Functions never throw. Any number of threads may read a Bundle.
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
    // Reads manifest.json of the bundle at `root`: a bundle's folder, or a folder that has `current`.
    // io_error: it cannot be read. bad_format: it is damaged or of another format.
    static Result<Bundle> open(const std::string& root) noexcept;

    const std::string& path() const noexcept { return path_; }  // absolute, without symbolic links
    std::int64_t model_version() const noexcept { return model_version_; }

    std::vector<std::string> names() const;  // of the files, in the manifest's order
    bool has(std::string_view name) const noexcept { return find(name) != nullptr; }

    // The path of a file, for example "index.karec". Compares its size with the manifest's and, with `verify`, also the
    // XXH64 of its bytes, O(bytes). bad_format: they differ, or the manifest does not list the file.
    Result<std::string> file(std::string_view name, bool verify) const noexcept;

    // The XXH64 of a file by the manifest, 16 hexadecimal digits; empty if the manifest does not list the file.
    std::string_view checksum(std::string_view name) const noexcept;

  private:
    struct File {
        std::string name;
        std::uint64_t bytes;
        std::string xxh64;
    };
    const File* find(std::string_view name) const noexcept;

    std::string path_;
    std::int64_t model_version_ = 0;
    std::vector<File> files_;
};

// The folder that Bundle::open would read now. A host polls it and compares it with path().
KAREC_API Result<std::string> current_bundle(const std::string& root) noexcept;

}  // namespace karec
