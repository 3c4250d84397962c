#include "base/json.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <string>
#include <system_error>

namespace karec {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{16} << 20;
constexpr int kMaxLevels = 64;

// An upper bound of the number of nodes: one for the whole text, and one after each of these bytes.
std::size_t count_nodes(std::string_view text) noexcept {
    const auto precedes_value = [](char c) { return c == ',' || c == ':' || c == '[' || c == '{'; };
    return 1 + static_cast<std::size_t>(std::ranges::count_if(text, precedes_value));
}

}  // namespace

// Each function moves `at_` past the text that it read, or sets `reason_`.
class JsonReader {
  public:
    explicit JsonReader(std::string_view text) : text_(text) {
        document_.nodes_.reserve(count_nodes(text));
        document_.texts_.reserve(text.size());
    }

    Result<Json> read() {
        read_value(0);
        skip_space();
        if (reason_ == nullptr && at_ != text_.size()) fail("text follows the value");
        if (reason_ == nullptr) return std::move(document_);
        return Status::bad_format("not JSON: byte " + std::to_string(at_) + ": " + reason_);
    }

  private:
    using Kind = JsonValue::Kind;

    void fail(const char* reason) noexcept {
        if (reason_ == nullptr) reason_ = reason;
    }
    void skip_space() noexcept { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }
    bool skip(char expected) noexcept {
        if (at_ >= text_.size() || text_[at_] != expected) return false;
        ++at_;
        return true;
    }

    void add(Kind kind, std::uint64_t bits = 0) { document_.nodes_.push_back({kind, 0, bits}); }
    void add_word(std::string_view word, Kind kind, bool value = false) {
        if (!text_.substr(at_).starts_with(word)) return fail("an unknown word");
        at_ += word.size();
        add(kind, value ? 1 : 0);
    }

    void read_value(int level) {
        skip_space();
        if (level >= kMaxLevels) return fail("more than 64 levels");
        if (at_ >= text_.size()) return fail("a value is missing");
        switch (text_[at_]) {
            case '{':
                return read_elements(Kind::object, '}', level);
            case '[':
                return read_elements(Kind::list, ']', level);
            case '"':
                return read_text();
            case 't':
                return add_word("true", Kind::boolean, true);
            case 'f':
                return add_word("false", Kind::boolean);
            case 'n':
                return add_word("null", Kind::null);
            default:
                if (text_[at_] != '-' && (text_[at_] < '0' || text_[at_] > '9')) return fail("unexpected character");
                return read_number();
        }
    }

    void read_elements(Kind kind, char closing, int level) {
        const std::size_t node = document_.nodes_.size();
        std::uint32_t n_elements = 0;
        add(kind);
        ++at_;
        skip_space();
        if (!skip(closing)) {
            do {
                if (kind == Kind::object) read_name();
                if (reason_ == nullptr) read_value(level + 1);
                skip_space();
                ++n_elements;
            } while (reason_ == nullptr && skip(','));
            if (reason_ == nullptr && !skip(closing)) fail("a list or object has no end");
        }
        if (reason_ != nullptr) return;
        document_.nodes_[node].size = n_elements;
        document_.nodes_[node].bits = document_.nodes_.size() - node;
        if (kind == Kind::object) check_names(JsonValue(&document_.nodes_[node], document_.texts_.data()));
    }

    void read_name() {
        skip_space();
        if (at_ >= text_.size() || text_[at_] != '"') return fail("a name is missing");
        read_text();
        skip_space();
        if (reason_ == nullptr && !skip(':')) fail("a colon is missing");
    }

    void check_names(const JsonValue& object) {
        std::vector<std::string_view> names;
        names.reserve(object.size());
        for (const JsonValue member : object) names.push_back(member.name());
        std::ranges::sort(names);
        if (std::ranges::adjacent_find(names) != names.end()) fail("a name appears twice in the object that ends here");
    }

    void read_text() {
        const std::size_t begin = document_.texts_.size();
        const std::size_t node = document_.nodes_.size();
        add(Kind::text, begin);
        ++at_;
        while (reason_ == nullptr && at_ < text_.size() && text_[at_] != '"') {
            const char c = text_[at_++];
            if (static_cast<unsigned char>(c) < 0x20) return fail("a control character in a text");
            if (c == '\\') {
                read_escape();
            } else {
                document_.texts_.push_back(c);
            }
        }
        if (!skip('"')) fail("a text has no end");
        document_.nodes_[node].size = static_cast<std::uint32_t>(document_.texts_.size() - begin);
    }

    void read_escape() {
        constexpr std::string_view kNames = "\"\\/bfnrt";
        constexpr std::string_view kBytes = "\"\\/\b\f\n\r\t";
        if (skip('u')) return read_code_point();
        const std::size_t found = at_ < text_.size() ? kNames.find(text_[at_]) : std::string_view::npos;
        if (found == std::string_view::npos) return fail("an unknown escape");
        document_.texts_.push_back(kBytes[found]);
        ++at_;
    }

    void read_code_point() {
        std::uint32_t point = read_hex();
        if (point >= 0xD800 && point < 0xDC00 && text_.substr(at_).starts_with("\\u")) {
            at_ += 2;
            const std::uint32_t low = read_hex();
            if (low >= 0xDC00 && low < 0xE000) point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
        }
        if (point >= 0xD800 && point < 0xE000) fail("half of a surrogate pair");
        if (reason_ == nullptr) append_utf8(point);
    }

    std::uint32_t read_hex() noexcept {
        std::uint32_t point = 0;
        const std::string_view digits = text_.substr(at_, 4);
        const char* const begin = digits.data();
        const char* const end = begin + digits.size();
        if (digits.size() < 4 || std::from_chars(begin, end, point, 16).ptr != end) fail("\\u without 4 digits");
        at_ += digits.size();
        return point;
    }

    void append_utf8(std::uint32_t point) {
        const auto append = [this](std::uint32_t bits) {
            document_.texts_.push_back(static_cast<char>(static_cast<unsigned char>(bits)));
        };
        if (point < 0x80) return append(point);
        if (point < 0x800) {
            append(0xC0 | point >> 6);
        } else if (point < 0x10000) {
            append(0xE0 | point >> 12);
            append(0x80 | (point >> 6 & 0x3F));
        } else {
            append(0xF0 | point >> 18);
            append(0x80 | (point >> 12 & 0x3F));
            append(0x80 | (point >> 6 & 0x3F));
        }
        append(0x80 | (point & 0x3F));
    }

    std::size_t skip_digits() noexcept {
        const std::size_t begin = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
        return at_ - begin;
    }

    void read_number() {
        const std::size_t begin = at_;
        skip('-');
        const bool has_zero = at_ < text_.size() && text_[at_] == '0';
        const std::size_t n_digits = skip_digits();
        const std::size_t end_of_digits = at_;
        bool is_valid = n_digits == 1 || (n_digits > 1 && !has_zero);
        if (skip('.')) is_valid = skip_digits() > 0 && is_valid;
        if (skip('e') || skip('E')) {
            if (!skip('+')) skip('-');
            is_valid = skip_digits() > 0 && is_valid;
        }
        const char* const from = text_.data() + begin;
        const char* const to = text_.data() + at_;
        std::int64_t integer = 0;
        if (is_valid && at_ == end_of_digits && std::from_chars(from, to, integer).ec == std::errc()) {
            return add(Kind::integer, std::bit_cast<std::uint64_t>(integer));
        }
        double real = 0.0;
        if (!is_valid || std::from_chars(from, to, real).ec != std::errc()) return fail("not a number of a double");
        add(Kind::real, std::bit_cast<std::uint64_t>(real));
    }

    std::string_view text_;
    Json document_;
    std::size_t at_ = 0;
    const char* reason_ = nullptr;
};

const JsonValue::Node JsonValue::kMissing{Kind::missing, 0, 0};

std::optional<bool> JsonValue::boolean() const noexcept {
    return node_->kind == Kind::boolean ? std::optional(node_->bits != 0) : std::nullopt;
}

std::optional<std::int64_t> JsonValue::integer() const noexcept {
    return node_->kind == Kind::integer ? std::optional(std::bit_cast<std::int64_t>(node_->bits)) : std::nullopt;
}

std::optional<double> JsonValue::number() const noexcept {
    if (node_->kind == Kind::real) return std::bit_cast<double>(node_->bits);
    const auto whole = integer();
    return whole ? std::optional(static_cast<double>(*whole)) : std::nullopt;
}

std::optional<std::string_view> JsonValue::text() const noexcept {
    if (node_->kind != Kind::text) return std::nullopt;
    return std::string_view(texts_ + node_->bits, node_->size);
}

JsonValue JsonValue::operator[](std::string_view name) const noexcept {
    if (is_object()) {
        for (const JsonValue member : *this) {
            if (member.name() == name) return member;
        }
    }
    return {&kMissing, texts_};
}

JsonValue::Iterator JsonValue::begin() const noexcept {
    const std::ptrdiff_t name = is_object() ? 1 : 0;
    return Iterator({size() == 0 ? end_of_value() + name : node_ + 1 + name, texts_}, name);
}

JsonValue::Iterator JsonValue::end() const noexcept {
    const std::ptrdiff_t name = is_object() ? 1 : 0;
    return Iterator({end_of_value() + name, texts_}, name);
}

Result<Json> Json::parse(std::string_view text) {
    if (text.size() > kMaxBytes) return Status::bad_format("longer than 16 MiB");
    return JsonReader(text).read();
}

Result<Json> Json::parse(std::span<const std::byte> text) {
    return parse({reinterpret_cast<const char*>(text.data()), text.size()});
}

}  // namespace karec
