// Writes small bundles and a prerank stage to a folder, as Python's publisher does.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <system_error>
#include <vector>

#include "base/xxh64.hpp"
#include "karec/item_index.hpp"

namespace karec {

inline constexpr std::size_t kBundleDim = 8;
inline constexpr std::size_t kBundleWorks = 600;
inline constexpr std::int64_t kBundleNow = 1'000'000'000;

inline void write_file(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Works 0, 3, 6, … Every vector of version v is (v, 0, …) + small noise of its own, so that a score tells the version.
// With codes it has the code columns "tag" and "song".
inline ItemIndex index_of_version(std::int64_t version, DType dtype = DType::float32, bool has_codes = false) {
    std::mt19937 random(5);
    std::vector<std::int64_t> ids(kBundleWorks);
    std::vector<float> vectors(kBundleWorks * kBundleDim);
    std::vector<std::int64_t> creators(kBundleWorks);
    std::vector<std::int64_t> uploads(kBundleWorks);
    std::vector<std::int32_t> types(kBundleWorks);
    std::vector<float> tones(kBundleWorks);
    std::vector<std::uint32_t> tags(kBundleWorks);
    std::vector<std::uint32_t> songs(kBundleWorks);
    for (std::size_t i = 0; i < kBundleWorks; ++i) {
        ids[i] = static_cast<std::int64_t>(3 * i);
        for (std::size_t d = 0; d < kBundleDim; ++d) {
            vectors[i * kBundleDim + d] = static_cast<float>(random() % 1000) * 1e-4f;
        }
        vectors[i * kBundleDim] += static_cast<float>(version);
        creators[i] = static_cast<std::int64_t>(i % 50);
        uploads[i] = kBundleNow - static_cast<std::int64_t>(i) * 3'600'000;
        types[i] = static_cast<std::int32_t>(i % 2);
        tones[i] = static_cast<float>(i % 10) / 10.0f;
        tags[i] = static_cast<std::uint32_t>(i % 20);
        songs[i] = static_cast<std::uint32_t>(1000 * i);
    }
    const Column columns[] = {{"creator_id", DType::int64, std::as_bytes(std::span(creators))},
                              {"upload_ms", DType::int64, std::as_bytes(std::span(uploads))},
                              {"type", DType::int32, std::as_bytes(std::span(types))},
                              {"tone", DType::float32, std::as_bytes(std::span(tones))}};
    ItemIndex::BuildOptions options;
    options.dtype = dtype;
    options.columns = columns;
    options.model_version = version;
    const Column codes[] = {{"tag", DType::uint32, std::as_bytes(std::span(tags))},
                            {"song", DType::uint32, std::as_bytes(std::span(songs))}};
    if (has_codes) options.code_columns = codes;
    return ItemIndex::build(ids, {vectors.data(), kBundleWorks, kBundleDim, DType::float32}, options).value();
}

// An exported stage with these steps.
inline std::string stage_text(const std::string& steps) {
    return R"({"format": 1, "scene": "home", "source": "00c0ffee00c0ffee",
               "stages": [{"name": "prerank", "steps": [)" +
           steps + "]}]}";
}

inline const std::string kIndexRows = R"({"use": "index_rows", "name": "index_rows"}, )";
inline const std::string kHasEmbedding = R"({"use": "has_embedding", "name": "has_embedding"}, )";

inline std::string inner_product_step(int k) {
    return R"({"use": "inner_product", "name": "inner_product", "k": )" + std::to_string(k) +
           R"(, "at_most": [], "min_items": 0})";
}

inline std::string quota_step(const std::string& column, int at_most) {
    return R"({"use": "quota", "name": "quota", "column": ")" + column + R"(", "at_most": )" + std::to_string(at_most) +
           "}";
}

inline std::string dpp_step(int k, double diversity, double type_weight, const std::string& weights = "") {
    return R"({"use": "dpp", "name": "scattered", "k": )" + std::to_string(k) + R"(, "diversity": )" +
           std::to_string(diversity) + R"(, "ridge": 0.01, "type_weight": )" + std::to_string(type_weight) +
           R"(, "window": null, "types": "type", "max_per_type": null, "min_per_type": 0, "weights": [)" + weights +
           R"(], "centre": false, "whiten": 0, "facets": []})";
}

inline std::string page_rules_step(const std::string& column, int window) {
    return R"({"use": "page_rules", "name": "page_rules", "k": null, "rules": [{"column": ")" + column +
           R"(", "window": )" + std::to_string(window) + R"(, "max_count": 1, "values": [], "apart": []}]})";
}

inline const std::string kScoredSteps = kIndexRows + kHasEmbedding + inner_product_step(200) +
                                        R"(, {"use": "not_shown", "name": "not_shown"},
       {"use": "freshness", "name": "freshness", "weight": 0.05, "half_life_hours": 24},
       {"use": "tone", "name": "tone", "column": "tone", "at_least": 0.1}, )" +
                                        quota_step("creator_id", 3);
inline const std::string kBundleStage =
    stage_text(kScoredSteps + ", " + dpp_step(20, 0.3, 0.05, R"({"column": "type", "value": 1, "factor": 1.2})"));

// Writes manifest.json for the files in `folder`.
inline void write_manifest(const std::string& folder, std::int64_t version) {
    std::string files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
        if (!entry.is_regular_file() || entry.path().filename() == "manifest.json") continue;
        const std::string bytes = read_file(entry.path());
        char sums[80];
        std::snprintf(sums, sizeof sums, R"({"bytes": %zu, "xxh64": "%016llx"})", bytes.size(),
                      static_cast<unsigned long long>(xxh64(std::as_bytes(std::span(bytes)))));
        files +=
            (files.empty() ? "\"" : ", \"") + std::filesystem::relative(entry.path(), folder).string() + "\": " + sums;
    }
    write_file(folder + "/manifest.json", R"({"format": 1, "facts": {}, "model_version": )" + std::to_string(version) +
                                              R"(, "files": {)" + files + "}}");
}

// A temporary folder, removed by the destructor.
class BundleFolder {
  public:
    BundleFolder() {
        root_ = (std::filesystem::temp_directory_path() / "karec-bundle-XXXXXX").string();
        if (::mkdtemp(root_.data()) == nullptr) std::abort();
        write_file(settings(), kBundleStage);
    }
    ~BundleFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(root_, ignored);
    }
    BundleFolder(const BundleFolder&) = delete;
    BundleFolder& operator=(const BundleFolder&) = delete;

    const std::string& root() const { return root_; }
    std::string settings() const { return root_ + "/prerank.json"; }
    std::string folder(std::int64_t version) const { return root_ + "/v" + std::to_string(version); }

    void publish(std::int64_t version, bool has_codes = false) {
        ::mkdir(folder(version).c_str(), 0755);
        const std::string path = folder(version) + "/index.karec";
        if (!index_of_version(version, DType::float32, has_codes).pinned().save(path).ok()) std::abort();
        describe(version);
        point_at(version);
    }

    void describe(std::int64_t version) { write_manifest(folder(version), version); }

    // As Python does it: a new link, renamed over the old one.
    void point_at(std::int64_t version) {
        const std::string link = root_ + "/.current";
        ::unlink(link.c_str());
        if (::symlink(("v" + std::to_string(version)).c_str(), link.c_str()) != 0) std::abort();
        if (std::rename(link.c_str(), (root_ + "/current").c_str()) != 0) std::abort();
    }

  private:
    std::string root_;
};

}  // namespace karec
