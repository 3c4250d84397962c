// What the handles (copies) of one ItemIndex share.
#pragma once

#include <memory>
#include <utility>

#include "index/generation_store.hpp"
#include "karec/item_index.hpp"

namespace karec {

struct ItemIndex::Store {
    explicit Store(std::unique_ptr<Generation> first) : generations(std::move(first)) {}
    GenerationStore generations;
};

}  // namespace karec
