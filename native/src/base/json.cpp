#include "base/json.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <system_error>

namespace karec {
namespace {

constexpr std::size_t kMostBytes = std::size_t{16} << 20;
constexpr int kMostLevels = 64;

void append_utf8(std::string& to, std::uint32_t point) {
    const auto byte = [&to](std::uint32_t bits) { to += static_cast<char>(static_cast<unsigned char>(bits)); };
    if (point < 0x80) return byte(point);
    if (point < 0x800) {
        byte(0xC0 | point >> 6);
    } else if (point < 0x10000) {
        byte(0xE0 | point >> 12);
        byte(0x80 | (point >> 6 & 0x3F));
    } else {
        byte(0xF0 | point >> 18);
        byte(0x80 | (point >> 12 & 0x3F));
        byte(0x80 | (point >> 6 & 0x3F));
    }
    byte(0x80 | (point & 0x3F));
}

// A recursive descent over `text_`. Each function leaves `at_` behind what it read, or sets `why_`.
class Reader {
  public:
    explicit Reader(std::string_view text) noexcept : text_(text) {}

    Result<Json> all() {
        Json value = read(0);
        skip_space();
        if (why_ == nullptr && at_ != text_.size()) why_ = "something stands behind the value";
        if (why_ == nullptr) return value;
        return Status::bad_format("it is no JSON: byte " + std::to_string(at_) + ": " + why_);
    }

  private:
    bool fail(const char* why) noexcept {
        if (why_ == nullptr) why_ = why;
        return false;
    }
    void skip_space() noexcept { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }
    bool take(char wanted) noexcept {
        if (at_ >= text_.size() || text_[at_] != wanted) return false;
        ++at_;
        return true;
    }
    bool take(std::string_view word) noexcept {
        if (!text_.substr(at_).starts_with(word)) return fail("an unknown word");
        at_ += word.size();
        return true;
    }

    Json read(int level) {
        Json value;
        skip_space();
        if (level > kMostLevels) fail("it is nested too deep");
        if (at_ >= text_.size()) fail("a value is missing");
        if (why_ != nullptr) return value;
        switch (text_[at_]) {
            case '{':
                value.kind = Json::Kind::object;
                read_object(value, level);
                break;
            case '[':
                value.kind = Json::Kind::list;
                read_list(value, level);
                break;
            case '"':
                value.kind = Json::Kind::text;
                read_text(value.text);
                break;
            case 't':
            case 'f':
                value.kind = Json::Kind::boolean;
                value.boolean = text_[at_] == 't';
                take(value.boolean ? std::string_view("true") : std::string_view("false"));
                break;
            case 'n':
                take(std::string_view("null"));
                break;
            default:
                value.kind = Json::Kind::number;
                read_number(value);
        }
        return value;
    }

    void read_object(Json& value, int level) {
        ++at_;
        skip_space();
        if (take('}')) return;
        do {
            skip_space();
            auto& [name, member] = value.object.emplace_back();
            if (at_ >= text_.size() || text_[at_] != '"') fail("a name is missing");
            if (why_ == nullptr) read_text(name);
            skip_space();
            if (why_ == nullptr && !take(':')) fail("a colon is missing");
            if (why_ == nullptr) member = read(level + 1);
            skip_space();
        } while (why_ == nullptr && take(','));
        if (why_ == nullptr && !take('}')) fail("an object has no end");
    }

    void read_list(Json& value, int level) {
        ++at_;
        skip_space();
        if (take(']')) return;
        do {
            value.list.push_back(read(level + 1));
            skip_space();
        } while (why_ == nullptr && take(','));
        if (why_ == nullptr && !take(']')) fail("a list has no end");
    }

    void read_text(std::string& to) {
        ++at_;
        while (at_ < text_.size() && text_[at_] != '"') {
            const char c = text_[at_++];
            if (static_cast<unsigned char>(c) < 0x20) fail("a text holds a control character");
            if (why_ != nullptr) return;
            if (c == '\\') {
                read_escape(to);
            } else {
                to += c;
            }
        }
        if (!take('"')) fail("a text has no end");
    }

    void read_escape(std::string& to) {
        constexpr std::string_view kNames = "\"\\/bfnrt";
        constexpr std::string_view kBytes = "\"\\/\b\f\n\r\t";
        if (at_ >= text_.size()) return;
        if (take('u')) {
            std::uint32_t point = read_hex();
            if (point >= 0xD800 && point < 0xDC00 && text_.substr(at_).starts_with("\\u")) {
                at_ += 2;
                const std::uint32_t low = read_hex();
                point = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00) : point;
            }
            if (point >= 0xD800 && point < 0xE000) fail("half a surrogate pair");
            if (why_ == nullptr) append_utf8(to, point);
            return;
        }
        const std::size_t found = kNames.find(text_[at_]);
        if (found == std::string_view::npos) {
            fail("an unknown escape");
        } else {
            to += kBytes[found];
            ++at_;
        }
    }

    std::uint32_t read_hex() {
        std::uint32_t point = 0;
        const std::string_view digits = text_.substr(at_, 4);
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), point, 16);
        if (digits.size() < 4 || error != std::errc() || end != digits.data() + 4) fail("\\u without four digits");
        at_ += digits.size();
        return point;
    }

    std::size_t read_digits() noexcept {
        const std::size_t begin = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
        return at_ - begin;
    }

    void read_number(Json& value) {
        const std::size_t begin = at_;
        bool whole = true;
        take('-');
        const bool zero = at_ < text_.size() && text_[at_] == '0';
        const std::size_t n = read_digits();
        bool good = n > 0 && !(zero && n > 1);
        if (take('.')) {
            whole = false;
            good = read_digits() > 0 && good;
        }
        if (take('e') || take('E')) {
            whole = false;
            if (!take('+')) take('-');
            good = read_digits() > 0 && good;
        }
        const char* const from = text_.data() + begin;
        const char* const to = text_.data() + at_;
        std::int64_t number = 0;
        if (whole && std::from_chars(from, to, number).ec == std::errc()) value.whole = number;
        if (!good || std::from_chars(from, to, value.number).ec != std::errc()) fail("no number that a double holds");
    }

    std::string_view text_;
    std::size_t at_ = 0;
    const char* why_ = nullptr;
};

}  // namespace

const Json* Json::find(std::string_view name) const noexcept {
    const auto at =
        std::find_if(object.rbegin(), object.rend(), [name](const auto& each) { return each.first == name; });
    return at == object.rend() ? nullptr : &at->second;
}

Result<Json> read_json(std::string_view text) {
    if (text.size() > kMostBytes) return Status::bad_format("it is longer than 16 MiB");
    return Reader(text).all();
}

}  // namespace karec
