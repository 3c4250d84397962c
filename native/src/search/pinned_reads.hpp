// Reads of one generation, which the caller has pinned: rows and results of several reads fit each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "index/index_store.hpp"
#include "karec/item_index.hpp"

namespace karec {

// Pins the newest generation of an index for the pin's lifetime.
class IndexPin {
  public:
    explicit IndexPin(const ItemIndex& index) noexcept : pin_(index.store_->generations) {}
    const Generation& operator*() const noexcept { return *pin_; }
    const Generation* operator->() const noexcept { return &*pin_; }

  private:
    GenerationStore::Pin pin_;
};

// The functions of ItemIndex of the same names, on one generation. Throw std::bad_alloc alone.
Status lookup_in(const Generation& g, std::span<const std::int64_t> ids, std::span<std::int32_t> rows);
Result<SearchCount> search_in(const Generation& g, const Query& query, const Candidates& candidates, const Ranked& out);
Status gather_in(const Generation& g, std::span<const std::int32_t> rows, std::span<float> out);
Status gather_column_in(const Generation& g, std::string_view name, std::span<const std::int32_t> rows,
                        std::span<std::byte> out);

// nullptr where there is none of that name.
const PagedColumn* find_column(const Generation& g, std::string_view name) noexcept;

}  // namespace karec
