// Checks of the arguments of C functions: pointers, lengths, sizes of structs. A check throws ArgumentError, which
// catch_errors() turns into a karec_status: no exception crosses the C boundary.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/boundary.hpp"
#include "karec/item_index.hpp"
#include "karec/karec.h"
#include "karec/status.hpp"

struct karec_index {
    std::variant<karec::ItemIndex, karec::IndexView> index_or_view;  // a view if pinned
};

namespace karec::c {

// Longer arrays cannot exist in memory, so their length is refused.
inline constexpr std::size_t kMaxBytes = std::size_t{1} << 56;

struct ArgumentError : std::exception {
    explicit ArgumentError(Status error) : status(std::move(error)) {}
    Status status;
};

[[noreturn]] inline void refuse(const std::string& message) {
    throw ArgumentError(Status::invalid(message));
}

// Stores the message for karec_last_error() of this thread. Returns the code.
karec_status store_error(const Status& status) noexcept;

// Runs the body of a C function, which returns a Status.
template <class Body>
karec_status catch_errors(Body&& body) noexcept {
    try {
        const Status status = body();
        return status.ok() ? KAREC_OK : store_error(status);
    } catch (const ArgumentError& error) {
        return store_error(error.status);
    } catch (...) {
        return store_error(status_from_current_exception());
    }
}

template <class T>
T& require(T* pointer, const char* name) {
    if (pointer == nullptr) refuse(std::string(name) + " is NULL");
    if (reinterpret_cast<std::uintptr_t>(pointer) % alignof(T) != 0) refuse(std::string(name) + " is not aligned");
    return *pointer;
}

template <class T>
std::span<T> to_span(T* pointer, std::size_t n, const char* name) {
    if (n == 0) return {};
    if (n > kMaxBytes / sizeof(T)) refuse(std::string(name) + " has more entries than memory has");
    return {&require(pointer, name), n};
}

// The smallest struct_size that is accepted: sizeof in the interface version that introduced the struct. Specialise it
// when a struct gets more members, in the same change; they must not use the padding at the end of the old struct.
template <class T>
inline constexpr std::size_t kMinStructSize = sizeof(T);

template <class T>
void check_size(const T* given, const char* name) {
    constexpr std::size_t kMaxSize = 4096;
    constexpr std::size_t kMinSize = kMinStructSize<std::remove_const_t<T>>;
    const std::size_t size = require(given, name).struct_size;
    if (size >= kMinSize && size <= kMaxSize && size % alignof(T) == 0) return;
    refuse(std::string(name) + "->struct_size is " + std::to_string(size) + ", expected sizeof, which is " +
           std::to_string(sizeof(T)) + " here and was at least " + std::to_string(kMinSize));
}

// Returns a copy in this library's size: missing members are 0; unknown members must be 0.
template <class T>
T read_struct(const T* given, const char* name) {
    check_size(given, name);
    const std::size_t size = given->struct_size;
    T known{};
    std::memcpy(static_cast<void*>(&known), given, std::min(size, sizeof(T)));
    const auto* bytes = reinterpret_cast<const unsigned char*>(given);
    if (std::any_of(bytes + std::min(size, sizeof(T)), bytes + size, [](unsigned char b) { return b != 0; })) {
        refuse(std::string(name) + " has members that this library, of interface version " +
               std::to_string(KAREC_ABI_VERSION) + ", does not have");
    }
    return known;
}

template <class T>
T read_struct_or(const T& defaults, const T* given, const char* name) {
    return given == nullptr ? defaults : read_struct(given, name);
}

// Refuses an array of n structs that is longer than memory. NULL passes if n is 0.
template <class T>
void check_struct_count(const T* first, std::size_t n, const char* name) {
    if (n == 0) return;
    check_size(first, name);
    if (n > kMaxBytes / first->struct_size) refuse(std::string(name) + " has more structs than memory has");
}

// Struct i of an array of structs of the first one's size.
template <class T>
T* nth_struct(T* first, std::size_t i) noexcept {
    using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
    return reinterpret_cast<T*>(reinterpret_cast<Byte*>(first) + i * first->struct_size);
}

template <class T>
T read_nth_struct(const T* first, std::size_t i, const char* name) {
    check_size(first, name);
    const T* given = nth_struct(first, i);
    if (given->struct_size != first->struct_size) refuse(std::string(name) + ": structs have different struct_size");
    return read_struct(given, name);
}

// Refuses an array of n structs that cannot be written. NULL passes if n is 0.
template <class T>
void check_output_structs(const T* first, std::size_t n, const char* name) {
    check_struct_count(first, n, name);
    for (std::size_t i = 0; i < n; ++i) {
        if (nth_struct(first, i)->struct_size != first->struct_size) {
            refuse(std::string(name) + ": structs have different struct_size");
        }
    }
}

// Writes the members that the caller's struct has. Does not change struct_size.
template <class T>
void write_struct(T* output, T values) noexcept {
    values.struct_size = output->struct_size;
    std::memcpy(static_cast<void*>(output), &values, std::min(output->struct_size, sizeof(T)));
}

inline std::string to_path(const char* text, const char* name) {
    require(text, name);
    if (*text == 0) refuse(std::string(name) + " is empty");
    return text;
}

// Runs read(view) on the view of a pinned handle, or on a new one of the current generation.
template <class Read>
karec_status read_index(const karec_index* index, const Read& read) {
    return catch_errors([&]() -> Status {
        const auto& handle = require(index, "index").index_or_view;
        if (const auto* view = std::get_if<IndexView>(&handle)) return read(*view);
        return read(std::get<ItemIndex>(handle).pinned());
    });
}

DType to_dtype(karec_dtype dtype, const char* name);

MatrixView to_matrix(const karec_matrix* given, const char* name);

}  // namespace karec::c
