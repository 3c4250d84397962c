// PagedArray is a growing array in pages, which consecutive generations of an index share.
//
// A copy of the array copies page pointers only. A page that readers may see is copied before it changes.
//
//      map()                     grow()
//        │                         │
//        ▼                         ▼         publish()
//      mapped ──────────────► unpublished ──────────────► published
//              copy_on_write(),    ▲                          │
//              write_unshared():   └──────────────────────────┘
//              a copy                copy_on_write(): a copy
//
//    mapped       memory of a file, which `owner` keeps alive; never written
//    unpublished  of the open write transaction; both write functions change it in place
//    published    visible to readers; only write_unshared() changes it in place, at elements that no reader reads
//
// Invariants
//   - data_[p] and pages_[p] describe page p, which has elements p·page_size … and room for `capacity` of them.
//   - Every page but the last has capacity page_size.
//   - size_ ≤ the sum of all capacities. Elements behind size_ are T{} or were never written.
// Threads  One writer at a time; readers read copies of the array that were published before.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/buffer.hpp"
#include "base/pages.hpp"

namespace karec {

template <class T>
class PagedArray {
  public:
    PagedArray() = default;

    // Elements of `width` Ts each, T{} at first, in pages of at most `page_bytes`.
    explicit PagedArray(std::size_t width, std::size_t page_bytes) : width_(width) {
        shift_ = static_cast<unsigned>(std::bit_width(std::max<std::size_t>(page_bytes / (width * sizeof(T)), 1)) - 1);
    }

    // Makes this empty array show memory that `owner` keeps alive and no thread writes.
    void map(const std::shared_ptr<const void>& owner, std::span<const T> elements) {
        for (std::size_t first = 0; first * width_ < elements.size(); first += page_size()) {
            const std::size_t n = std::min(page_size(), elements.size() / width_ - first);
            data_.push_back(const_cast<T*>(elements.data()) + first * width_);  // PageState::mapped prevents writes
            pages_.push_back({owner, n, PageState::mapped});
        }
        size_ = elements.size() / width_;
    }

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }

    const T* at(std::size_t i) const noexcept { return pages().at(i); }

    // Valid until this array changes.
    Pages<T> pages() const noexcept { return {data_.data(), shift_, width_}; }

    // The number of elements from i to the end of its page, which are contiguous.
    std::size_t contiguous_from(std::size_t i) const noexcept { return page_size() - (i & (page_size() - 1)); }

    // Appends elements up to n of them. New pages are allocated together, on huge pages if large enough.
    void grow(std::size_t n) {
        if (size_ < n && !pages_.empty()) reserve(pages_.size() - 1, n - ((pages_.size() - 1) << shift_));
        const std::size_t first = pages_.size();
        if (n > first << shift_) {
            const std::size_t capacity = n - (first << shift_);
            for (std::size_t done = 0; done < capacity;) {
                const std::size_t block_size =
                    std::max(page_size(), kBytesAtOnce / (width_ * sizeof(T)) >> shift_ << shift_);
                const std::size_t n_new = std::min(block_size, capacity - done);
                const auto [buffer, data] = allocate(n_new);
                for (std::size_t i = 0; i < n_new; i += page_size()) {
                    data_.push_back(data + i * width_);
                    pages_.push_back({buffer, std::min(page_size(), n_new - i), PageState::unpublished});
                }
                done += n_new;
            }
        }
        size_ = std::max(size_, n);
    }

    // Element i < size() for writing, if readers of earlier generations may read its page.
    T* copy_on_write(std::size_t i) {
        const std::size_t page = i >> shift_;
        if (pages_[page].state != PageState::unpublished) replace(page, pages_[page].capacity);
        return data_[page] + (i & (page_size() - 1)) * width_;
    }

    // Element i < size() for writing, if no reader reads it: a row that was just appended, or whose last reader ended.
    T* write_unshared(std::size_t i) {
        const std::size_t page = i >> shift_;
        if (pages_[page].state == PageState::mapped) replace(page, pages_[page].capacity);
        return data_[page] + (i & (page_size() - 1)) * width_;
    }

    // Makes the pages immutable, except by write_unshared. Arrays that change only by it need no publish().
    void publish() noexcept {
        for (Page& page : pages_) {
            if (page.state == PageState::unpublished) page.state = PageState::published;
        }
    }

    // The elements in order, in as few contiguous spans as their memory allows.
    std::vector<std::span<const T>> segments() const {
        std::vector<std::span<const T>> pieces;
        for (std::size_t page = 0; page < pages_.size(); ++page) {
            const std::size_t n = (std::min(size_, (page + 1) << shift_) - (page << shift_)) * width_;
            if (!pieces.empty() && pieces.back().data() + pieces.back().size() == data_[page]) {
                pieces.back() = {pieces.back().data(), pieces.back().size() + n};
            } else {
                pieces.push_back({data_[page], n});
            }
        }
        return pieces;
    }

    // Returns whether every page is mapped, so that none is ever written in place. True for an empty array.
    bool is_mapped() const noexcept {
        return std::ranges::all_of(pages_, [](const Page& page) { return page.state == PageState::mapped; });
    }

    // Returns whether copies replaced more than half of the pages: they are scattered, and the memory of their
    // originals is still in use.
    bool is_fragmented() const noexcept { return n_replaced_ > 32 && n_replaced_ > pages_.size() / 2; }

    std::size_t bytes() const noexcept {
        std::size_t sum = 0;
        for (const Page& page : pages_) sum += page.capacity * width_ * sizeof(T);
        return sum;
    }

  private:
    enum class PageState : std::uint8_t { mapped, unpublished, published };

    struct Page {
        std::shared_ptr<const void> owner;
        std::size_t capacity;  // elements
        PageState state;
    };

    std::size_t page_size() const noexcept { return std::size_t{1} << shift_; }

    static constexpr std::size_t kBytesAtOnce = std::size_t{2} << 20;

    // Makes room for n elements in the last page, or for as many as fit.
    void reserve(std::size_t page, std::size_t n) {
        const std::size_t capacity = pages_[page].capacity;
        n = std::min(n, page_size());
        if (n > capacity) replace(page, std::min(page_size(), std::max(n, 2 * capacity)));
    }

    void replace(std::size_t page, std::size_t capacity) {
        auto [buffer, data] = allocate(capacity);
        std::memcpy(static_cast<void*>(data), data_[page], pages_[page].capacity * width_ * sizeof(T));
        data_[page] = data;
        pages_[page] = {std::move(buffer), capacity, PageState::unpublished};
        ++n_replaced_;
    }

    std::pair<std::shared_ptr<const void>, T*> allocate(std::size_t capacity) {
        auto buffer = std::make_shared<Buffer>(capacity * width_ * sizeof(T));
        const auto elements = buffer->template as<T>();
        if constexpr (std::is_class_v<T>) std::ranges::fill(elements, T{});
        return {std::move(buffer), elements.data()};
    }

    std::size_t width_ = 1;
    unsigned shift_ = 0;
    std::size_t size_ = 0;
    std::size_t n_replaced_ = 0;
    std::vector<T*> data_;
    std::vector<Page> pages_;
};

}  // namespace karec
