// Reads within one generation that the caller has pinned: what several of them say belongs together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "index/index_store.hpp"
#include "karec/item_index.hpp"

namespace karec {

// The newest generation of an index, as long as the pin lives.
class IndexPin {
  public:
    explicit IndexPin(const ItemIndex& index) noexcept : pin_(index.store_->generations) {}
    const Generation& operator*() const noexcept { return *pin_; }
    const Generation* operator->() const noexcept { return &*pin_; }

  private:
    GenerationStore::Pin pin_;
};

// As the functions of ItemIndex of these names; they may throw std::bad_alloc.
Status lookup_in(const Generation& g, std::span<const std::int64_t> ids, std::span<std::int32_t> rows);
Result<SearchCount> search_in(const Generation& g, const Query& query, const Candidates& candidates, const Ranked& out);
Status gather_in(const Generation& g, std::span<const std::int32_t> rows, std::span<float> out);
Status gather_column_in(const Generation& g, std::string_view name, std::span<const std::int32_t> rows,
                        std::span<std::byte> out);

// nullptr where there is none of that name.
const PagedColumn* find_column(const Generation& g, std::string_view name) noexcept;

}  // namespace karec
