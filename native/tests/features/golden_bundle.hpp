// A bundle of the golden encoder and snapshot of tests/: 3 users, 4 works, two scenes
// (tests/fixtures/golden_platform.py).
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>

#include "stages/bundle_files.hpp"

namespace karec {

inline const std::string kGoldenFiles = KAREC_GOLDEN_FILES;

// Copies the files into `folder` and writes the manifest of what is there.
inline void describe_folder(const std::string& folder) {
    std::string lines = "karec-bundle 1\nmodel_version 1\n";
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
        if (!entry.is_regular_file() || entry.path().filename() == "manifest.txt") continue;
        const std::string bytes = read_file(entry.path());
        char sum[64];
        std::snprintf(sum, sizeof sum, " bytes=%zu xxh64=%016llx\n", bytes.size(),
                      static_cast<unsigned long long>(xxh64(std::as_bytes(std::span(bytes)))));
        lines += "file " + std::filesystem::relative(entry.path(), folder).string() + sum;
    }
    write_file(folder + "/manifest.txt", sealed(lines));
}

inline void write_golden_bundle(const std::string& folder) {
    std::filesystem::create_directories(folder);
    std::filesystem::copy(kGoldenFiles + "/features/golden/encoder-4.npz", folder + "/encoder.npz");
    std::filesystem::copy(kGoldenFiles + "/catalog/golden/snapshot-3", folder + "/snapshot",
                          std::filesystem::copy_options::recursive);
    describe_folder(folder);
}

}  // namespace karec
