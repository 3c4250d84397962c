// Counts every operator new of the program: its current and its peak memory. Include it in only one file.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> held{0};
std::atomic<std::size_t> peak{0};

constexpr std::size_t kHeader = 64;  // in front of each piece: its size, and its alignment kept

void* take(std::size_t size) {
    void* memory = std::aligned_alloc(kHeader, (size + 2 * kHeader - 1) / kHeader * kHeader);
    if (memory == nullptr) throw std::bad_alloc();
    *static_cast<std::size_t*>(memory) = size;
    const std::size_t now = held += size;
    std::size_t most = peak;
    while (most < now && !peak.compare_exchange_weak(most, now)) {
    }
    return static_cast<std::byte*>(memory) + kHeader;
}

void* take_or_null(std::size_t size) noexcept {
    try {
        return take(size);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void give_back(void* memory) noexcept {
    if (memory == nullptr) return;
    void* whole = static_cast<std::byte*>(memory) - kHeader;
    held -= *static_cast<std::size_t*>(whole);
    std::free(whole);
}

}  // namespace

// NOLINTBEGIN(misc-new-delete-overloads): all the forms that the library and the standard library use
void* operator new(std::size_t size) {
    return take(size);
}
void* operator new[](std::size_t size) {
    return take(size);
}
void* operator new(std::size_t size, std::align_val_t) {
    return take(size);
}
void* operator new[](std::size_t size, std::align_val_t) {
    return take(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return take_or_null(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
    return take_or_null(size);
}
void* operator new(std::size_t size, std::align_val_t, const std::nothrow_t&) noexcept {
    return take_or_null(size);
}
void* operator new[](std::size_t size, std::align_val_t, const std::nothrow_t&) noexcept {
    return take_or_null(size);
}
void operator delete(void* memory) noexcept {
    give_back(memory);
}
void operator delete[](void* memory) noexcept {
    give_back(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    give_back(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    give_back(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    give_back(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
    give_back(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    give_back(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
    give_back(memory);
}
// NOLINTEND(misc-new-delete-overloads)
