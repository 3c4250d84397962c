#include "karec/bundle.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <system_error>

#include "base/boundary.hpp"
#include "base/json.hpp"
#include "base/regular_file.hpp"
#include "base/xxh64.hpp"

namespace karec {
namespace {

Result<std::string> resolve_links(const std::string& path) {
    struct Free {
        void operator()(char* text) const noexcept { std::free(text); }
    };
    const std::unique_ptr<char, Free> real(::realpath(path.c_str(), nullptr));
    if (real) return std::string(real.get());
    const int error = errno;
    return Status{Code::io_error, "cannot read '" + path + "': " + std::system_category().message(error), error};
}

constexpr std::int64_t kFormat = 1;

// Returns whether the path cannot leave the folder of the bundle.
bool is_within_bundle(const std::string& name) {
    const std::string parts = "/" + name + "/";
    return parts.find("//") == std::string::npos && parts.find("/./") == std::string::npos &&
           parts.find("/../") == std::string::npos && parts.find('\0') == std::string::npos;
}

bool is_checksum(std::string_view text) noexcept {
    return text.size() == 16 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string to_checksum(std::span<const std::byte> bytes) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(xxh64(bytes)));
    return digits;
}

}  // namespace

Result<std::string> current_bundle(const std::string& root) noexcept {
    return at_boundary([&]() -> Result<std::string> {
        const std::string current = root + "/current";
        return resolve_links(::access(current.c_str(), F_OK) == 0 ? current : root);
    });
}

Result<Bundle> Bundle::open(const std::string& root) noexcept {
    return at_boundary([&]() -> Result<Bundle> {
        auto folder = current_bundle(root);
        if (!folder.ok()) return folder.status();
        Bundle bundle;
        bundle.path_ = std::move(folder.value());
        const std::string path = bundle.path_ + "/manifest.json";
        const auto fail = [&](const std::string& reason) { return Status::bad_format(path + ": " + reason); };
        const auto file = MappedFile::open(path);
        if (!file.ok()) return file.status();
        const auto manifest = Json::parse(file->bytes());
        if (!manifest.ok()) return fail(manifest.status().message());
        if (manifest.value()["format"].integer() != kFormat) {
            return fail("another format, expected " + std::to_string(kFormat) + ". Publish the bundle again");
        }
        const auto version = manifest.value()["model_version"].integer();
        const JsonValue files = manifest.value()["files"];
        if (!version || !files.is_object()) return fail("model_version or files is missing or of another type");
        bundle.model_version_ = *version;
        for (const JsonValue entry : files) {
            std::string name(entry.name());
            const auto bytes = entry["bytes"].integer();
            const auto xxh64 = entry["xxh64"].text();
            if (!is_within_bundle(name)) return fail("the file '" + name + "' is not a path within the bundle");
            if (!bytes || *bytes < 0 || !xxh64 || !is_checksum(*xxh64)) {
                return fail("the entry of '" + name + "' has no bytes or no xxh64 of 16 hexadecimal digits");
            }
            bundle.files_.push_back({std::move(name), static_cast<std::uint64_t>(*bytes), std::string(*xxh64)});
        }
        return bundle;
    });
}

std::vector<std::string> Bundle::names() const {
    std::vector<std::string> names;
    names.reserve(files_.size());
    for (const File& file : files_) names.push_back(file.name);
    return names;
}

const Bundle::File* Bundle::find(std::string_view name) const noexcept {
    const auto found = std::ranges::find(files_, name, &File::name);
    return found == files_.end() ? nullptr : &*found;
}

std::string_view Bundle::checksum(std::string_view name) const noexcept {
    const File* file = find(name);
    return file == nullptr ? std::string_view() : file->xxh64;
}

Result<std::string> Bundle::file(std::string_view name, bool verify) const noexcept {
    return at_boundary([&]() -> Result<std::string> {
        const File* entry = find(name);
        if (entry == nullptr) return Status::bad_format(path_ + " has no file '" + std::string(name) + "'");
        std::string path = path_ + "/" + entry->name;
        const auto file = MappedFile::open(path);
        if (!file.ok()) return file.status();
        if (file->bytes().size() != entry->bytes) {
            return Status::bad_format(path + " has " + std::to_string(file->bytes().size()) + " bytes, expected " +
                                      std::to_string(entry->bytes) + " by the manifest");
        }
        if (verify && to_checksum(file->bytes()) != entry->xxh64) {
            return Status::bad_format(path + " was changed after publishing: its XXH64 differs from the manifest's");
        }
        return path;
    });
}

}  // namespace karec
