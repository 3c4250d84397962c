#include "karec/bundle.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <system_error>

#include "base/boundary.hpp"
#include "base/regular_file.hpp"
#include "base/sealed_text.hpp"
#include "base/xxh64.hpp"

namespace karec {
namespace {

Result<std::string> without_links(const std::string& path) {
    struct Free {
        void operator()(char* text) const noexcept { std::free(text); }
    };
    const std::unique_ptr<char, Free> real(::realpath(path.c_str(), nullptr));
    if (real) return std::string(real.get());
    const int error = errno;
    return Status{Code::io_error, "cannot read '" + path + "': " + std::system_category().message(error), error};
}

// A path whose parts all lead downwards: no file outside the bundle's folder has such a name.
bool lies_within(const std::string& name) {
    const std::string parts = "/" + name + "/";
    return parts.find("//") == std::string::npos && parts.find("/./") == std::string::npos &&
           parts.find("/../") == std::string::npos && parts.find('\0') == std::string::npos;
}

}  // namespace

Result<std::string> current_bundle(const std::string& root) noexcept {
    return at_boundary([&]() -> Result<std::string> {
        const std::string current = root + "/current";
        return without_links(::access(current.c_str(), F_OK) == 0 ? current : root);
    });
}

Result<Bundle> Bundle::open(const std::string& root) noexcept {
    return at_boundary([&]() -> Result<Bundle> {
        auto folder = current_bundle(root);
        if (!folder.ok()) return folder.status();
        Bundle bundle;
        bundle.path_ = std::move(folder.value());
        const std::string manifest = bundle.path_ + "/manifest.txt";
        auto lines = read_sealed_file(manifest, "karec-bundle");
        if (!lines.ok()) return lines.status();
        const auto refused = [&](const SealedLine& line, const std::string& why) {
            return Status::bad_format(manifest + ": " + line.refused(why).message());
        };
        bool versioned = false;
        for (const SealedLine& line : lines.value()) {
            if (line.word == "model_version" && !versioned && line.fields.empty()) {
                auto version = whole_number(line.value);
                if (!version.ok()) return refused(line, version.status().message());
                bundle.model_version_ = version.value();
                versioned = true;
                continue;
            }
            const std::string* bytes = line.find("bytes");
            const std::string* sum = line.find("xxh64");
            if (line.word != "file" || line.value.empty() || bytes == nullptr || sum == nullptr ||
                line.fields.size() != 2) {
                return refused(line, "not 'file NAME bytes=N xxh64=SUM', nor the one model_version");
            }
            if (!lies_within(line.value)) return refused(line, "the file's name is no path within the bundle");
            auto size = whole_number(*bytes);
            auto xxh64 = hexadecimal(*sum);
            if (!size.ok() || size.value() < 0 || !xxh64.ok()) return refused(line, "a size or a sum is no number");
            bundle.files_.push_back({line.value, static_cast<std::uint64_t>(size.value()), xxh64.value()});
        }
        if (!versioned) return Status::bad_format(manifest + ": it names no model_version");
        return bundle;
    });
}

std::vector<std::string> Bundle::names() const {
    std::vector<std::string> names;
    names.reserve(files_.size());
    for (const File& file : files_) names.push_back(file.name);
    return names;
}

Result<std::uint64_t> Bundle::sum(std::string_view name) const noexcept {
    return at_boundary([&]() -> Result<std::uint64_t> {
        for (const File& file : files_) {
            if (file.name == name) return file.xxh64;
        }
        return Status::bad_format(path_ + " holds no file '" + std::string(name) + "'");
    });
}

Result<std::string> Bundle::file(std::string_view name, bool verify) const noexcept {
    return at_boundary([&]() -> Result<std::string> {
        for (const File& wanted : files_) {
            if (wanted.name != name) continue;
            std::string path = path_ + "/" + wanted.name;
            auto file = MappedFile::open(path);
            if (!file.ok()) return file.status();
            if (file->bytes().size() != wanted.bytes) {
                return Status::bad_format(path + " has " + std::to_string(file->bytes().size()) +
                                          " bytes, the manifest says " + std::to_string(wanted.bytes));
            }
            if (verify && xxh64(file->bytes()) != wanted.xxh64) {
                return Status::bad_format(path + " is not what was published: its XXH64 differs from the manifest's");
            }
            return path;
        }
        return Status::bad_format(path_ + " holds no file '" + std::string(name) + "'");
    });
}

}  // namespace karec
