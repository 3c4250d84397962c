// Requests and answers of the tests of Stages.
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
    for (std::int64_t id = 0; id < 1800; id += 2) ids.push_back(id);  // every third of them is known
    return ids;
}

struct Answer {
    explicit Answer(std::size_t n) : scores(n), ids(n), rows(n) {}
    Preranked spans() { return {scores, ids, rows}; }
    bool operator==(const Answer&) const = default;
    std::vector<float> scores;
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> rows;
};

inline StageSettings stage(const std::string& steps) {
    return StageSettings::parse(stage_text(steps)).value();
}

inline Request request_of(const std::vector<std::int64_t>& ids) {
    Request request;
    request.candidates = ids;
    request.user_vector = kUser;
    request.time_ms = kBundleNow;
    return request;
}

inline bool says(const Status& status, Code code, const std::string& part) {
    const bool so = status.code() == code && status.message().find(part) != std::string::npos;
    if (!so) std::fprintf(stderr, "got %d: %s\n", static_cast<int>(status.code()), status.message().c_str());
    return so;
}

}  // namespace karec
