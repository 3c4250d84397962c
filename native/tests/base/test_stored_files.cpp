// JSON, .npy and .npz: what Python writes is read, and nothing behind the bytes is.
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/npy.hpp"
#include "check.hpp"

using namespace karec;

namespace {

bool refused(std::string_view text) {
    const auto read = read_json(text);
    return !read.ok() && read.status().code() == Code::bad_format;
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

TEST(json_is_read_as_it_is_written) {
    const auto json =
        read_json(R"( {"a": [1, -2.5e3, true, null, "\u00e9\n\ud83c\udfa4\\"], "n": 9007199254740993, "a": {}} )");
    CHECK(json.ok());
    const auto& list = json->object[0].second.list;
    CHECK(list.size() == 5 && list[0].whole == 1 && list[1].number == -2500.0 && !list[1].whole);
    CHECK(list[2].boolean && list[3].kind == Json::Kind::null && list[4].text == "é\n\xF0\x9F\x8E\xA4\\");
    CHECK(json->find("n")->whole == 9007199254740993);
    CHECK(json->find("a")->kind == Json::Kind::object && json->find("b") == nullptr);
    CHECK(read_json("0.1")->number == 0.1 && read_json("-0")->number == 0.0 && read_json("1e-310")->number > 0.0);
}

TEST(what_is_no_json_is_refused) {
    // NOLINTBEGIN(modernize-raw-string-literal)
    for (const char* text :
         {"",        " ",         "{",           "[1,]", "[1 2]",    "{\"a\" 1}", "{a: 1}", "01",  "1.",
          ".5",      "1e",        "+1",          "NaN",  "Infinity", "1e999",     "tru",    "\"",  "\"\n\"",
          "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "1 1",  "nullx",    "{\"a\":}",  "[",      "\"\\"}) {
        CHECK(refused(text));
    }
    // NOLINTEND(modernize-raw-string-literal)
    CHECK(refused(std::string(100'000, '[')) && refused(std::string((16 << 20) + 1, ' ')));
    CHECK(read_json(std::string(60, '[') + std::string(60, ']')).ok());
}

TEST(arrays_have_the_shape_that_they_declare) {
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
