// Checks of the C functions' arguments: pointers, lengths, sizes of structs.
//
// They throw ArgumentError, and catch_errors() catches it: no exception crosses the C boundary.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/scratch.hpp"
#include "karec/item_index.hpp"
#include "karec/karec.h"
#include "karec/status.hpp"

struct karec_index {
    std::variant<karec::ItemIndex, karec::IndexView> index_or_view;  // a view if the handle is pinned
};

namespace karec::c {

// Longer arrays cannot exist in memory: such a length is refused.
inline constexpr std::size_t kMaxBytes = std::size_t{1} << 56;

struct ArgumentError : std::exception {
    explicit ArgumentError(Status why) : status(std::move(why)) {}
    Status status;
};

[[noreturn]] inline void refuse(const std::string& why) {
    throw ArgumentError(Status::invalid(why));
}

// Stores the status for karec_last_error() of this thread.
karec_status store_error(const Status& status) noexcept;

// Runs the body of a C function, which returns a Status.
template <class Body>
karec_status catch_errors(Body&& body) noexcept {
    try {
        const Status status = body();
        return status.ok() ? KAREC_OK : store_error(status);
    } catch (const ArgumentError& refused) {
        return store_error(refused.status);
    } catch (const std::bad_alloc&) {
        return store_error({Code::out_of_memory, ""});
    } catch (const std::length_error&) {
        return store_error({Code::out_of_memory, ""});
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

// The size that a struct had in the first version of the interface: up to `last`, its last member then. Members that
// come later go behind, never into the padding at the end of that size, which older callers leave as it was.
template <class T>
inline constexpr std::size_t kFirstSize = 0;
// NOLINTBEGIN(bugprone-macro-parentheses): a definition, no expression
#define KAREC_FIRST_SIZE(T, last)                \
    template <>                                  \
    inline constexpr std::size_t kFirstSize<T> = \
        (offsetof(T, last) + sizeof(T::last) + alignof(T) - 1) / alignof(T) * alignof(T)
// NOLINTEND(bugprone-macro-parentheses)
KAREC_FIRST_SIZE(karec_matrix, dtype);
KAREC_FIRST_SIZE(karec_column, dtype);
KAREC_FIRST_SIZE(karec_build_options, n_columns);
KAREC_FIRST_SIZE(karec_open_options, copy);
KAREC_FIRST_SIZE(karec_index_info, generation);
KAREC_FIRST_SIZE(karec_query, n_versions);
KAREC_FIRST_SIZE(karec_candidates, n);
KAREC_FIRST_SIZE(karec_ranked, n);
KAREC_FIRST_SIZE(karec_search_count, generation);
KAREC_FIRST_SIZE(karec_dpp_options, fill);
KAREC_FIRST_SIZE(karec_mmr_ssd_options, shown_facets);
KAREC_FIRST_SIZE(karec_dpp_count, log_det);
KAREC_FIRST_SIZE(karec_scatter_rule, max_count);
KAREC_FIRST_SIZE(karec_scatter_violation, count);
KAREC_FIRST_SIZE(karec_tensor, dtype);
KAREC_FIRST_SIZE(karec_tensor_spec, dtype);
KAREC_FIRST_SIZE(karec_user, n_counters);
KAREC_FIRST_SIZE(karec_preranker_options, context);
KAREC_FIRST_SIZE(karec_prerank_request, k);
KAREC_FIRST_SIZE(karec_preranked, n);
KAREC_FIRST_SIZE(karec_prerank_count, model_version);
#undef KAREC_FIRST_SIZE

template <class T>
void check_size(const T* given, const char* name) {
    constexpr std::size_t kMost = 4096;
    constexpr std::size_t kFirst = kFirstSize<std::remove_const_t<T>>;
    static_assert(kFirst >= sizeof(std::size_t) && kFirst <= sizeof(T), "say KAREC_FIRST_SIZE of the struct");
    require(given, name);
    const std::size_t size = given->struct_size;
    if (size >= kFirst && size <= kMost && size % alignof(T) == 0) return;
    refuse(std::string(name) + "->struct_size is " + std::to_string(size) + ", expected sizeof, which is " +
           std::to_string(sizeof(T)) + " here and was at least " + std::to_string(kFirst));
}

// The struct in this library's size: a shorter one is filled up with 0; of a longer one the rest must be 0.
template <class T>
T read_struct(const T* given, const char* name) {
    check_size(given, name);
    const std::size_t size = given->struct_size;
    T known{};
    std::memcpy(static_cast<void*>(&known), given, std::min(size, sizeof(T)));
    const auto* bytes = reinterpret_cast<const unsigned char*>(given);
    if (std::any_of(bytes + std::min(size, sizeof(T)), bytes + size, [](unsigned char b) { return b != 0; })) {
        refuse(std::string(name) + " has members that this library, of interface version " +
               std::to_string(KAREC_ABI_VERSION) + ", does not know");
    }
    return known;
}

template <class T>
T read_struct_or_default(const T* given, const char* name) {
    return given == nullptr ? T{} : read_struct(given, name);
}

// Refuses n structs side by side that are longer than memory. NULL passes where `n` is 0.
template <class T>
void check_struct_count(const T* first, std::size_t n, const char* name) {
    if (n == 0) return;
    check_size(first, name);
    if (n > kMaxBytes / first->struct_size) refuse(std::string(name) + " has more structs than memory has");
}

// Struct i of several side by side, all of the first one's size.
template <class T>
T* nth_struct(T* first, std::size_t i) noexcept {
    using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
    return reinterpret_cast<T*>(reinterpret_cast<Byte*>(first) + i * first->struct_size);
}

template <class T>
T read_nth_struct(const T* first, std::size_t i, const char* name) {
    check_size(first, name);
    const T* at = nth_struct(first, i);
    if (at->struct_size != first->struct_size) refuse(std::string(name) + ": the structs are not of one size");
    return read_struct(at, name);
}

// Whether `n` structs from `first` on can be written. NULL passes where `n` is 0.
template <class T>
void check_output_structs(const T* first, std::size_t n, const char* name) {
    check_struct_count(first, n, name);
    for (std::size_t i = 0; i < n; ++i) {
        check_size(first, name);
        if (nth_struct(first, i)->struct_size != first->struct_size) {
            refuse(std::string(name) + ": the structs are not of one size");
        }
    }
}

// Writes what the caller has room for, and leaves struct_size as it is.
template <class T>
void write_struct(T* to, T values) noexcept {
    values.struct_size = to->struct_size;
    std::memcpy(static_cast<void*>(to), &values, std::min(to->struct_size, sizeof(T)));
}

inline std::string to_path(const char* text, const char* name) {
    require(text, name);
    if (*text == 0) refuse(std::string(name) + " is empty");
    return text;
}

DType to_dtype(karec_dtype dtype, const char* name);

// A matrix of float16 or float32 with contiguous rows: the caller's memory, or a copy if rows are strided or unaligned.
class Matrix {
  public:
    Matrix(const karec_matrix* given, const char* name);
    MatrixView view{};

  private:
    ScratchVector<std::byte> copied_;
};

}  // namespace karec::c
