#include "base/scratch.hpp"

#include <algorithm>
#include <bit>

namespace karec {
namespace {

constexpr std::size_t kLeast = 64;
constexpr std::size_t kSizes = 20;  // 64 B … 32 MiB
constexpr std::size_t kMostKept = kLeast << (kSizes - 1);
constexpr std::align_val_t kAligned{64};

std::size_t size_index(std::size_t bytes) noexcept {
    return static_cast<std::size_t>(std::bit_width((std::max(bytes, kLeast) - 1) / kLeast));
}

struct Block {
    Block* next;
};

struct Kept {
    Block* free[kSizes] = {};
    std::size_t bytes = 0;
    ~Kept() {
        for (Block*& list : free) {
            while (list != nullptr) {
                Block* block = list;
                list = block->next;
                ::operator delete(block, kAligned);
            }
        }
        bytes = kMostKept;  // blocks that later destructors of this thread give back are freed at once
    }
};

thread_local Kept kept;

}  // namespace

void* take_scratch(std::size_t bytes) {
    const std::size_t at = size_index(bytes);
    if (at >= kSizes) return ::operator new(bytes, kAligned);
    if (Block* block = kept.free[at]; block != nullptr) {
        kept.free[at] = block->next;
        kept.bytes -= kLeast << at;
        return block;
    }
    return ::operator new(kLeast << at, kAligned);
}

void give_scratch(void* memory, std::size_t bytes) noexcept {
    const std::size_t at = size_index(bytes);
    if (at >= kSizes || kept.bytes + (kLeast << at) > kMostKept) {
        ::operator delete(memory, kAligned);
        return;
    }
    kept.free[at] = new (memory) Block{kept.free[at]};
    kept.bytes += kLeast << at;
}

}  // namespace karec
