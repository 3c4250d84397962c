// No exception leaves a public function: each becomes a Status.
#include <cerrno>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "base/boundary.hpp"
#include "check.hpp"

using namespace karec;

namespace {

template <class Exception>
Status status_of(const Exception& exception) {
    return at_boundary([&]() -> Status { throw exception; });  // NOLINT(bugprone-std-exception-baseclass)
}

}  // namespace

TEST(memory_exceptions_become_out_of_memory) {
    CHECK(status_of(std::bad_alloc()).code() == Code::out_of_memory);
    CHECK(status_of(std::length_error("vector::reserve")).code() == Code::out_of_memory);
    const Status status = at_boundary([]() -> Status {
        std::vector<double> numbers;
        numbers.reserve(std::numeric_limits<std::size_t>::max());
        return {};
    });
    CHECK(status.code() == Code::out_of_memory && status.message() == "out of memory");
}

TEST(system_error_becomes_io_error_with_errno) {
    const Status status = status_of(std::system_error(EAGAIN, std::generic_category(), "thread"));
    CHECK(status.code() == Code::io_error && status.system_error() == EAGAIN);
    CHECK(status.message().find("thread") != std::string::npos);
}

TEST(other_exceptions_become_unavailable_with_message) {
    const Status status = status_of(std::runtime_error("no entropy"));
    CHECK(status.code() == Code::unavailable && status.message() == "unexpected exception: no entropy");
    CHECK(status_of(7).code() == Code::unavailable);
    const auto result = at_boundary([]() -> Result<int> { throw 7; });  // NOLINT(bugprone-std-exception-baseclass)
    CHECK(result.status().code() == Code::unavailable);
}
