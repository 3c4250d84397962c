// Requests of the tests of Stages.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "bundle_files.hpp"
#include "karec/stages.hpp"

namespace karec {

inline const std::vector<float> kUser = {0.5f, 1.0f, -1.0f, 2.0f, 0.25f, -0.5f, 1.5f, 0.75f};

inline std::vector<std::int64_t> all_ids() {
    std::vector<std::int64_t> ids;
    for (std::int64_t id = 0; id < 1800; id += 2) ids.push_back(id);  // the index has every third of them
    return ids;
}

// Stages with these steps on the bundle of `folder`.
inline Result<Stages> open_stages(const BundleFolder& folder, const std::string& steps,
                                  const StagesOptions& options = {}) {
    const std::string path = folder.root() + "/steps.json";
    write_file(path, stage_text(steps));
    return Stages::open(folder.root(), path, options);
}

// Stages with the steps of folder.settings().
inline Result<Stages> open_stages(const BundleFolder& folder) {
    return Stages::open(folder.root(), folder.settings(), {});
}

inline Request request_of(const std::vector<std::int64_t>& ids) {
    Request request;
    request.candidates = ids;
    request.user_vector = kUser;
    request.time_ms = kBundleNow;
    return request;
}

inline bool has_message(const Status& status, Code code, const std::string& part) {
    const bool is_expected = status.code() == code && status.message().find(part) != std::string::npos;
    if (!is_expected) std::fprintf(stderr, "got %d: %s\n", static_cast<int>(status.code()), status.message().c_str());
    return is_expected;
}

}  // namespace karec
