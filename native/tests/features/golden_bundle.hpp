// A bundle of the golden encoder and snapshot of tests/: 3 users, 4 works, two scenes
// (tests/fixtures/golden_platform.py).
#pragma once

#include <filesystem>
#include <string>

#include "stages/bundle_files.hpp"

namespace karec {

inline const std::string kGoldenFiles = KAREC_GOLDEN_FILES;

// Copies the files into `folder` and writes their manifest.
inline void write_golden_bundle(const std::string& folder) {
    std::filesystem::create_directories(folder);
    std::filesystem::copy(kGoldenFiles + "/features/golden/encoder-1.npz", folder + "/encoder.npz");
    std::filesystem::copy(kGoldenFiles + "/catalog/golden/snapshot-1", folder + "/snapshot",
                          std::filesystem::copy_options::recursive);
    write_manifest(folder, 1);
}

}  // namespace karec
