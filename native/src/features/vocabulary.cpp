#include "features/vocabulary.hpp"

#include <string>
#include <utility>

namespace karec {
namespace {

std::int64_t unseen_code(std::int64_t id) noexcept {
    std::uint64_t z = static_cast<std::uint64_t>(id) + 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z = z ^ (z >> 31);
    return kFirstUnseen | static_cast<std::int64_t>(z >> 2);
}

}  // namespace

Vocabulary::Vocabulary(std::vector<std::int64_t> keys, IdSlots slots) noexcept
    : keys_(std::move(keys)), slots_(std::move(slots)) {}

Result<Vocabulary> Vocabulary::from_keys(std::vector<std::int64_t> keys) {
    for (std::size_t k = 0; k < keys.size(); ++k) {
        if (keys[k] >= 0) continue;
        return Status::invalid("keys must not be negative, keys[" + std::to_string(k) + "] is " +
                               std::to_string(keys[k]));
    }
    auto slots = IdSlots::from_ids(std::as_bytes(std::span<const std::int64_t>(keys)));
    if (!slots.ok()) return slots.status();
    return Vocabulary(std::move(keys), std::move(slots.value()));
}

std::int64_t Vocabulary::code(std::int64_t id) const noexcept {
    if (id < 0) return 0;
    const std::int32_t place = slots_.find(id);
    return place >= 0 ? place + std::int64_t{1} : unseen_code(id);
}

std::int64_t Vocabulary::known_code(std::int64_t id) const noexcept {
    return id < 0 ? 0 : slots_.find(id) + std::int64_t{1};
}

}  // namespace karec
