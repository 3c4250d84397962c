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

inline std::string sealed(const std::string& body) {
    char seal[32];
    std::snprintf(seal, sizeof seal, "seal %016llx\n",
                  static_cast<unsigned long long>(xxh64(std::as_bytes(std::span(body)))));
    return body + seal;
}

inline void write_file(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Works 0, 3, 6, … Every vector of version v is (v, 0, …) + small noise of its own, so that a score tells the version.
inline ItemIndex index_of_version(std::int64_t version, DType dtype = DType::float32) {
    std::mt19937 random(5);
    std::vector<std::int64_t> ids(kBundleWorks);
    std::vector<float> vectors(kBundleWorks * kBundleDim);
    std::vector<std::int64_t> creators(kBundleWorks);
    std::vector<std::int64_t> uploads(kBundleWorks);
    std::vector<std::int32_t> types(kBundleWorks);
    std::vector<float> tones(kBundleWorks);
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
    }
    const Column columns[] = {{"creator_id", DType::int64, std::as_bytes(std::span(creators))},
                              {"upload_ms", DType::int64, std::as_bytes(std::span(uploads))},
                              {"type", DType::int32, std::as_bytes(std::span(types))},
                              {"tone", DType::float32, std::as_bytes(std::span(tones))}};
    ItemIndex::BuildOptions options;
    options.dtype = dtype;
    options.columns = columns;
    options.model_version = version;
    return ItemIndex::build(ids, {vectors.data(), kBundleWorks, kBundleDim, DType::float32}, options).value();
}

inline const char* kBundleStage =
    "karec-prerank 1\nscene home\nstep index_rows\nstep has_embedding\nstep inner_product k=200\nstep not_shown\n"
    "step freshness weight=0.05 half_life_hours=24.0\nstep tone column=tone at_least=0.1\n"
    "step quota column=creator_id at_most=3\n"
    "step dpp k=20 diversity=0.3 ridge=0.01 type_weight=0.05 types=type weights.type.1=1.2 name=scattered\n";

// A temporary folder, removed by the destructor.
class BundleFolder {
  public:
    BundleFolder() {
        root_ = (std::filesystem::temp_directory_path() / "karec-bundle-XXXXXX").string();
        if (::mkdtemp(root_.data()) == nullptr) std::abort();
        write_file(settings(), sealed(kBundleStage));
    }
    ~BundleFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(root_, ignored);
    }
    BundleFolder(const BundleFolder&) = delete;
    BundleFolder& operator=(const BundleFolder&) = delete;

    const std::string& root() const { return root_; }
    std::string settings() const { return root_ + "/prerank.txt"; }
    std::string folder(std::int64_t version) const { return root_ + "/v" + std::to_string(version); }

    void publish(std::int64_t version) {
        ::mkdir(folder(version).c_str(), 0755);
        const std::string path = folder(version) + "/index.karec";
        if (!index_of_version(version).save(path).ok()) std::abort();
        describe(version);
        point_at(version);
    }

    // Writes manifest.txt for the folder's files.
    void describe(std::int64_t version) {
        const std::string bytes = read_file(folder(version) + "/index.karec");
        char line[128];
        std::snprintf(line, sizeof line, "file index.karec bytes=%zu xxh64=%016llx\n", bytes.size(),
                      static_cast<unsigned long long>(xxh64(std::as_bytes(std::span(bytes)))));
        write_file(folder(version) + "/manifest.txt",
                   sealed("karec-bundle 1\nmodel_version " + std::to_string(version) + "\n" + line));
    }

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
