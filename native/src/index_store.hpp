// What an ItemIndex points at.
#pragma once

#include <memory>
#include <utility>

#include "karec/item_index.hpp"
#include "living.hpp"

namespace karec {

struct ItemIndex::Store {
    explicit Store(std::unique_ptr<Generation> first) : living(std::move(first)) {}
    Living living;
};

}  // namespace karec
