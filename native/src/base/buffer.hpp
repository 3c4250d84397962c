// Zeroed memory of the index.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace karec {

// Zeroed bytes, aligned to cache lines. From 2 MiB on they are on huge pages if the system has them: random rows cost
// 1.2 to 1.8 times as much on 4-KiB pages.
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::size_t bytes);  // throws std::bad_alloc

    template <class T>
    std::span<T> as() noexcept {
        return {reinterpret_cast<T*>(bytes_.get()), size_ / sizeof(T)};
    }

  private:
    struct Free {
        void operator()(std::byte* bytes) const noexcept;
    };
    std::unique_ptr<std::byte[], Free> bytes_;
    std::size_t size_ = 0;
};

}  // namespace karec
