#include "karec/string_ids.hpp"

#include <algorithm>
#include <utility>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/regular_file.hpp"
#include "ids/id_file.hpp"
#include "ids/id_text.hpp"

namespace karec {
namespace {

// Seed t is t times an odd number whose bits look random (2^64 over the golden ratio): strings that
// collide under one small seed often collide under the next, since the hash begins by adding the seed.
constexpr int kMaxSeeds = 64;
constexpr std::uint64_t kSeedStep = 0x9E3779B97F4A7C15u;

Status check_room(std::size_t n, std::size_t room) {
    if (n == room) return {};
    return Status::invalid("room for " + std::to_string(room) + " results, expected " + std::to_string(n));
}

Status outside() {
    return Status::bad_format("damaged karec id file: a string is outside its text; open it with verify");
}

}  // namespace

struct StringIds::Table {
    MappedFile file;
    ids::Contents contents;
};

StringIds::StringIds(std::shared_ptr<const Table> table) noexcept : table_(std::move(table)) {}

Status StringIds::build(const Strings& strings, const std::string& path, IdKind kind) noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_path(path); !status.ok()) return status;
        if (kind == IdKind::numbers && strings.size() > 0) {
            return Status::invalid("integers that are their own numbers need no strings, got " +
                                   std::to_string(strings.size()));
        }
        const auto text = ids::check_text(strings);
        if (!text.ok()) return text.status();
        std::uint64_t seed = 0;
        for (int attempt = 1;; ++attempt, seed += kSeedStep) {
            const auto sections = ids::build_sections(text.value(), seed);
            if (sections.ok()) return ids::write_sections(path, sections.value(), kind, seed);
            if (attempt == kMaxSeeds) return sections.status();
        }
    });
}

Result<StringIds> StringIds::open(const std::string& path, bool verify) noexcept {
    return at_boundary([&]() -> Result<StringIds> {
        if (Status status = check_path(path); !status.ok()) return status;
        auto file = MappedFile::open(path);
        if (!file.ok()) return file.status();
        auto contents = ids::read_contents(file->bytes(), verify);
        if (!contents.ok()) return Status{contents.status().code(), path + ": " + contents.status().message()};
        return StringIds(std::make_shared<Table>(Table{std::move(file.value()), contents.value()}));
    });
}

std::size_t StringIds::size() const noexcept {
    return table_->contents.numbers.size();
}
std::uint64_t StringIds::seed() const noexcept {
    return table_->contents.seed;
}
IdKind StringIds::kind() const noexcept {
    return table_->contents.kind;
}
Status StringIds::numbers(const Strings& strings, std::span<std::int64_t> out) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_room(strings.size(), out.size()); !status.ok()) return status;
        for (std::size_t i = 0; i < out.size(); ++i) {
            std::span<const char> text;
            if (Status status = ids::read_id(strings, i, text); !status.ok()) return status;
            out[i] = ids::hash_string(text, seed());
        }
        return {};
    });
}

Status StringIds::known(const Strings& strings, std::span<bool> out) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_room(strings.size(), out.size()); !status.ok()) return status;
        constexpr std::size_t kBlock = 256;
        std::span<const char> texts[kBlock];
        std::int64_t numbers[kBlock];
        std::string_view found[kBlock];
        for (std::size_t first = 0; first < out.size(); first += kBlock) {
            const std::size_t n = std::min(kBlock, out.size() - first);
            for (std::size_t i = 0; i < n; ++i) {
                if (Status status = ids::read_id(strings, first + i, texts[i]); !status.ok()) return status;
                numbers[i] = ids::hash_string(texts[i], seed());
            }
            if (!ids::find_strings(table_->contents, {numbers, n}, {found, n})) return outside();
            for (std::size_t i = 0; i < n; ++i) {
                out[first + i] = found[i] == std::string_view(texts[i].data(), texts[i].size());
            }
        }
        return {};
    });
}

Status StringIds::names(std::span<const std::int64_t> numbers, std::span<std::string_view> out) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_room(numbers.size(), out.size()); !status.ok()) return status;
        return ids::find_strings(table_->contents, numbers, out) ? Status{} : outside();
    });
}

}  // namespace karec
