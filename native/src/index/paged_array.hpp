// A growing array in pages, which consecutive generations of an index share.
//
// A page is copied before it changes under a reader: `changed` copies it once in each draft. `unseen` writes in place,
// for elements that no pinned generation reads (rows that were appended, or whose last reader is gone). Copying the
// array copies pointers alone. Pages of a mapped file are never written: either call replaces them by a copy.
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

namespace karec {

template <class T>
class Pages {
  public:
    Pages() = default;

    // Elements of `width` Ts each, T{} at first. `page_bytes` is the most that a page takes.
    explicit Pages(std::size_t width, std::size_t page_bytes) : width_(width) {
        shift_ = static_cast<unsigned>(std::bit_width(std::max<std::size_t>(page_bytes / (width * sizeof(T)), 1)) - 1);
    }

    // Makes this empty array show memory that `owner` keeps alive and nobody writes.
    void show(const std::shared_ptr<const void>& owner, std::span<const T> elements) {
        for (std::size_t first = 0; first * width_ < elements.size(); first += page_size()) {
            const std::size_t n = std::min(page_size(), elements.size() / width_ - first);
            data_.push_back(const_cast<T*>(elements.data()) + first * width_);  // `owned` guards it
            pages_.push_back({owner, n, false, false});
        }
        size_ = elements.size() / width_;
    }

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }

    const T* at(std::size_t i) const noexcept { return data_[i >> shift_] + (i & (page_size() - 1)) * width_; }

    // How many elements lie together from i on, at least.
    std::size_t together(std::size_t i) const noexcept { return page_size() - (i & (page_size() - 1)); }

    // Appends elements up to n of them. Whole new pages lie together, on huge pages where they are large enough.
    void grow(std::size_t n) {
        if (size_ < n && !pages_.empty()) reserve(pages_.size() - 1, n - ((pages_.size() - 1) << shift_));
        const std::size_t first = pages_.size();
        if (n > first << shift_) {
            const std::size_t capacity = n - (first << shift_);
            for (std::size_t at = 0; at < capacity;) {
                const std::size_t some_pages =
                    std::max(page_size(), kTogether / (width_ * sizeof(T)) >> shift_ << shift_);
                const std::size_t some = std::min(some_pages, capacity - at);
                const auto [buffer, data] = allocate(some);
                for (std::size_t i = 0; i < some; i += page_size()) {
                    data_.push_back(data + i * width_);
                    pages_.push_back({buffer, std::min(page_size(), some - i), true, true});
                }
                at += some;
            }
        }
        size_ = std::max(size_, n);
    }

    // Element i < size() for writing, where readers of earlier generations may read its page.
    T* changed(std::size_t i) {
        const std::size_t page = i >> shift_;
        if (!pages_[page].fresh) replace(page, pages_[page].capacity);
        return data_[page] + (i & (page_size() - 1)) * width_;
    }

    // Element i < size() for writing, where no reader reads this element.
    T* unseen(std::size_t i) {
        const std::size_t page = i >> shift_;
        if (!pages_[page].owned) replace(page, pages_[page].capacity);
        return data_[page] + (i & (page_size() - 1)) * width_;
    }

    // From here on, readers may know every page.
    void publish() noexcept {
        for (Page& page : pages_) page.fresh = false;
    }

    // The elements, in as few stretches of memory as they lie in.
    std::vector<std::span<const T>> pieces() const {
        std::vector<std::span<const T>> found;
        for (std::size_t page = 0; page < pages_.size(); ++page) {
            const std::size_t n = (std::min(size_, (page + 1) << shift_) - (page << shift_)) * width_;
            if (!found.empty() && found.back().data() + found.back().size() == data_[page]) {
                found.back() = {found.back().data(), found.back().size() + n};
            } else {
                found.push_back({data_[page], n});
            }
        }
        return found;
    }

    // Whether nothing here is ever written in place.
    bool foreign() const noexcept {
        return std::ranges::none_of(pages_, [](const Page& page) { return page.owned; });
    }

    // Whether so many pages are copies by now that they lie scattered, beside memory that their originals still hold.
    bool scattered() const noexcept { return n_replaced_ > 32 && n_replaced_ > pages_.size() / 2; }

    std::size_t bytes() const noexcept {
        std::size_t sum = 0;
        for (const Page& page : pages_) sum += page.capacity * width_ * sizeof(T);
        return sum;
    }

  private:
    struct Page {
        std::shared_ptr<const void> owner;
        std::size_t capacity;  // elements
        bool owned;            // ours to write, as far as readers permit
        bool fresh;            // made in this draft: no reader knows it
    };

    std::size_t page_size() const noexcept { return std::size_t{1} << shift_; }

    static constexpr std::size_t kTogether = std::size_t{2} << 20;

    // Room for n elements in the last page, or for as many as fit.
    void reserve(std::size_t page, std::size_t n) {
        const std::size_t capacity = pages_[page].capacity;
        n = std::min(n, page_size());
        if (n > capacity) replace(page, std::min(page_size(), std::max(n, 2 * capacity)));
    }

    void replace(std::size_t page, std::size_t capacity) {
        auto [buffer, data] = allocate(capacity);
        std::memcpy(static_cast<void*>(data), data_[page], pages_[page].capacity * width_ * sizeof(T));
        data_[page] = data;
        pages_[page] = {std::move(buffer), capacity, true, true};
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
