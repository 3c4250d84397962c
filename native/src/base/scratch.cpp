#include "base/scratch.hpp"

#include <algorithm>
#include <bit>

namespace karec {
namespace {

constexpr std::size_t kMinBytes = 64;
constexpr std::size_t kSizes = 20;  // 64 B … 32 MiB
constexpr std::size_t kMaxFreeBytes = kMinBytes << (kSizes - 1);
constexpr std::align_val_t kAlignment{64};

std::size_t size_index(std::size_t bytes) noexcept {
    return static_cast<std::size_t>(std::bit_width((std::max(bytes, kMinBytes) - 1) / kMinBytes));
}

struct Block {
    Block* next;
};

struct FreeBlocks {
    Block* lists[kSizes] = {};
    std::size_t bytes = 0;
    ~FreeBlocks() {
        for (Block*& block : lists) {
            while (block != nullptr) ::operator delete(std::exchange(block, block->next), kAlignment);
        }
        bytes = kMaxFreeBytes;  // later destructors of this thread then free their blocks at once
    }
};

thread_local FreeBlocks free_blocks;

}  // namespace

void* allocate_scratch(std::size_t bytes) {
    const std::size_t index = size_index(bytes);
    if (index >= kSizes) return ::operator new(bytes, kAlignment);
    Block* block = free_blocks.lists[index];
    if (block == nullptr) return ::operator new(kMinBytes << index, kAlignment);
    free_blocks.lists[index] = block->next;
    free_blocks.bytes -= kMinBytes << index;
    return block;
}

void free_scratch(void* memory, std::size_t bytes) noexcept {
    const std::size_t index = size_index(bytes);
    if (index >= kSizes || free_blocks.bytes + (kMinBytes << index) > kMaxFreeBytes) {
        ::operator delete(memory, kAlignment);
        return;
    }
    free_blocks.lists[index] = new (memory) Block{free_blocks.lists[index]};
    free_blocks.bytes += kMinBytes << index;
}

}  // namespace karec
