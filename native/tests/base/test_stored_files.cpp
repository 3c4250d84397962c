// JSON, .npy and .npz: files of Python are read, but no byte after their end.
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/npy.hpp"
#include "check.hpp"
#include "counted_memory.hpp"

using namespace karec;

namespace {

bool refused(std::string_view text) {
    const auto json = Json::parse(text);
    return !json.ok() && json.status().code() == Code::bad_format;
}

std::string npy(const std::string& head, const std::string& data) {
    std::string text("\x93NUMPY\x01\x00", 8);
    const std::string line = head + std::string(117 - head.size(), ' ') + "\n";
    text += static_cast<char>(line.size());
    text += '\0';
    return text + line + data;
}

std::string head_of(const std::string& descr, const std::string& shape) {
    return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
}

Result<NpyArray> read(const std::string& file) {
    return read_npy(std::as_bytes(std::span(file)));
}

}  // namespace

TEST(json_values_have_the_types_of_the_text) {
    const auto json =
        Json::parse(R"( {"a": [1, -2.5e3, true, null, "\u00e9\n\ud83c\udfa4\\", {}], "n": 9007199254740993, "": {}} )");
    CHECK(json.ok());
    const JsonValue list = json.value()["a"];
    CHECK(list.is_list() && list.size() == 6);
    auto value = list.begin();
    CHECK((*value).integer() == 1 && (*value).number() == 1.0 && !(*value).text() && !(*value).boolean());
    ++value;
    CHECK((*value).number() == -2500.0 && !(*value).integer());
    ++value;
    CHECK((*value).boolean() == true && !(*value).number());
    ++value;
    CHECK((*value).is_null() && !(*value).is_missing());
    ++value;
    CHECK((*value).text() == "é\n\xF0\x9F\x8E\xA4\\" && (*value).size() == 0);
    ++value;
    CHECK((*value).is_object() && (*value).begin() == (*value).end());
    CHECK(++value == list.end());
    CHECK(json.value()["n"].integer() == 9007199254740993);
    CHECK(json.value()["b"].is_missing() && json.value()["n"]["x"].is_missing() && list["x"].is_missing());
    std::string names;
    for (const JsonValue member : json->root()) names += std::string(member.name()) + ";";
    CHECK(names == "a;n;;");
}

TEST(json_numbers_are_read_exactly) {
    const auto number = [](const char* text) { return Json::parse(text)->root().number(); };
    CHECK(number("0.1") == 0.1 && number("-0") == 0.0 && number("1e-310") > 0.0 && number("0") == 0.0);
    CHECK(number("9223372036854775808") == 9223372036854775808.0);
    CHECK(Json::parse("9223372036854775807")->root().integer() == std::numeric_limits<std::int64_t>::max());
    CHECK(!Json::parse("9223372036854775808")->root().integer() && !Json::parse("1.0")->root().integer());
}

TEST(json_refuses_texts_that_are_not_json) {
    // NOLINTBEGIN(modernize-raw-string-literal)
    for (const char* text : {"",
                             " ",
                             "{",
                             "[1,]",
                             "[1 2]",
                             "{\"a\" 1}",
                             "{a: 1}",
                             "01",
                             "1.",
                             ".5",
                             "1e",
                             "+1",
                             "NaN",
                             "Infinity",
                             "1e999",
                             "tru",
                             "\"",
                             "\"\n\"",
                             "\"\\x\"",
                             "\"\\u12\"",
                             "\"\\ud800\"",
                             "1 1",
                             "nullx",
                             "{\"a\":}",
                             "[",
                             "\"\\",
                             "-",
                             "{\"a\": 1, \"b\": 2, \"a\": 3}",
                             "{\"a\": {\"\": 1, \"\": 2}}",
                             "\"\\ud800\\ud800\""}) {
        CHECK(refused(text));
    }
    // NOLINTEND(modernize-raw-string-literal)
}

TEST(json_has_at_most_16_mib_and_64_levels) {
    CHECK(refused(std::string(100'000, '[')) && refused(std::string((16 << 20) + 1, ' ')));
    CHECK(Json::parse(std::string(64, '[') + std::string(64, ']')).ok());
    CHECK(refused(std::string(65, '[') + std::string(65, ']')));
}

TEST(json_names_the_position_of_an_unexpected_character) {
    for (const char* text : {"bundle = 1", "\xEF\xBB\xBF{}", ".5"}) {
        CHECK(Json::parse(text).status().message() == "not JSON: byte 0: unexpected character");
    }
    CHECK(Json::parse("[[scenes]]").status().message() == "not JSON: byte 2: unexpected character");
    CHECK(Json::parse("1e999").status().message() == "not JSON: byte 5: not a number of a double");
}

TEST(json_uses_at_most_17_bytes_of_memory_for_a_byte) {
    const auto fill = [](std::string text, std::string_view element, std::string_view end) {
        while (text.size() < 1'000'000) text += element;
        return text.append(end);
    };
    std::string members = "{\"\": 0";
    for (int i = 0; i < 100'000; ++i) members += ",\"" + std::to_string(i) + "\":0";
    for (const std::string& text :
         {fill("[0", ",0", "]"), fill("[[]", ",[]", "]"), fill("[\"\"", ",\"\"", "]"), fill("[{}", ",{}", "]"),
          members + "}", fill(",", ",", ""), fill("\"", ",", "\""), fill("\"", "\\u0001", "\""), fill("[", "[", "")}) {
        const std::size_t before = held;
        peak = before;
        const auto json = Json::parse(text);
        CHECK(peak - before <= 17 * text.size() + 1024);
    }
}

TEST(npy_array_has_the_declared_shape) {
    const std::string four(16, '\1');
    const std::string whole = npy(head_of("<i4", "(4,)"), four);
    const auto array = read(whole);  // it points into `whole`
    CHECK(array.ok() && array->size() == 4 && array->integer(3) == 0x01010101 && array->is_integer());
    CHECK(read(npy(head_of("<f4", "(2, 2)"), four))->shape.size() == 2);
    CHECK(read(npy(head_of("|u1", "()"), "x"))->bytes.size() == 1 &&
          read(npy(head_of("<f8", "(0,)"), ""))->size() == 0);
    for (const char* shape : {"(5,)", "(3,)", "(4)", "4", "(4, )", "(-4,)", "(2,2)", "(9223372036854775807, 4)",
                              "(1, 1, 1, 1, 1, 1, 1, 1, 4)", "(4,), "}) {
        CHECK(!read(npy(head_of("<i4", shape), four)).ok());
    }
    for (const char* descr : {">i4", "<U1", "|O", "<c8", "<i16", ""})
        CHECK(!read(npy(head_of(descr, "(4,)"), four)).ok());
    for (std::size_t n = 0; n < whole.size(); ++n) CHECK(!read(whole.substr(0, n)).ok());
}
