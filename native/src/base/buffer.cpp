#include "base/buffer.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace karec {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

Buffer::Buffer(std::size_t bytes) : size_(bytes) {
    const std::size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
    if (bytes > SIZE_MAX - alignment) throw std::bad_alloc();
    const std::size_t padded = (bytes + alignment - 1) / alignment * alignment;
    bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, padded == 0 ? alignment : padded)));
    if (!bytes_) throw std::bad_alloc();
    // Only whole huge pages: the remaining bytes take small pages, so that they take no more memory than they need.
#if defined(MADV_HUGEPAGE)
    if (alignment == kHugePage) ::madvise(bytes_.get(), bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
    std::memset(bytes_.get(), 0, bytes);
}

void Buffer::Free::operator()(std::byte* bytes) const noexcept {
    std::free(bytes);
}

}  // namespace karec
