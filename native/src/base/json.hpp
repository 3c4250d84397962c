// Reads JSON (RFC 8259): the heads that Python writes into a bundle, and exported stages.
//
// Algorithm  Recursive descent. All values are nodes of one array, in the order of the text: the elements of a list or
//            object follow its node, and the node has their number and the number of nodes to skip.
// Limits     16 MiB; 64 levels; numbers that a double holds; each name once in an object.
// Cost       O(n log n) time for n bytes, because of the check for repeated names. Memory: at most 18·n bytes; the
//            nodes of a list of one-digit numbers take 8·n.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "karec/status.hpp"

namespace karec {

// A value of a Json document, or the missing one. Do not use it after the document is destroyed.
class JsonValue {
  public:
    class Iterator;

    bool is_missing() const noexcept { return node_->kind == Kind::missing; }
    bool is_null() const noexcept { return node_->kind == Kind::null; }
    bool is_list() const noexcept { return node_->kind == Kind::list; }
    bool is_object() const noexcept { return node_->kind == Kind::object; }

    // nullopt if the value has another type. A number without point and exponent that fits is an integer too.
    std::optional<bool> boolean() const noexcept;
    std::optional<std::int64_t> integer() const noexcept;
    std::optional<double> number() const noexcept;
    std::optional<std::string_view> text() const noexcept;  // UTF-8 if the document is: not checked

    // The member of an object; missing if there is none or the value is not an object. O(members).
    JsonValue operator[](std::string_view name) const noexcept;
    // The name of this member of an object. Undefined for other values.
    std::string_view name() const noexcept { return JsonValue(node_ - 1, texts_).text().value_or(""); }

    // Elements of a list, or values of the members of an object; none for other types.
    std::size_t size() const noexcept { return is_list() || is_object() ? node_->size : 0; }
    Iterator begin() const noexcept;
    Iterator end() const noexcept;

  private:
    friend class Json;
    friend class JsonReader;
    enum class Kind : std::uint8_t { missing, null, boolean, integer, real, text, list, object };
    struct Node {
        Kind kind;
        std::uint32_t size;  // bytes of a text, elements of a list, members of an object
        std::uint64_t bits;  // a number or boolean; the offset of a text; the nodes of a list or object
    };
    static const Node kMissing;

    JsonValue(const Node* node, const char* texts) noexcept : node_(node), texts_(texts) {}
    const Node* end_of_value() const noexcept { return node_ + (is_list() || is_object() ? node_->bits : 1); }

    const Node* node_;
    const char* texts_;
};

class JsonValue::Iterator {
  public:
    explicit Iterator(JsonValue value, std::ptrdiff_t name) noexcept : value_(value), name_(name) {}
    JsonValue operator*() const noexcept { return value_; }
    Iterator& operator++() noexcept {
        value_.node_ = value_.end_of_value() + name_;
        return *this;
    }
    bool operator==(const Iterator& other) const noexcept { return value_.node_ == other.value_.node_; }

  private:
    JsonValue value_;
    std::ptrdiff_t name_;  // nodes between two values: 1 in an object, 0 in a list
};

// A document. Never changes after reading; moving it does not invalidate its values.
class Json {
  public:
    // bad_format, with the position, if `text` is not JSON or exceeds a limit.
    static Result<Json> parse(std::string_view text);
    static Result<Json> parse(std::span<const std::byte> text);

    JsonValue root() const noexcept { return {nodes_.data(), texts_.data()}; }
    JsonValue operator[](std::string_view name) const noexcept { return root()[name]; }

  private:
    friend class JsonReader;
    std::vector<JsonValue::Node> nodes_;
    std::vector<char> texts_;
};

}  // namespace karec
