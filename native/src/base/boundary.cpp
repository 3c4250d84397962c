#include "base/boundary.hpp"

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

namespace karec {
namespace {

// Throws bad_alloc if there is no memory for a message.
Status describe_current_exception() {
    try {
        throw;
    } catch (const std::bad_alloc&) {
        return {Code::out_of_memory, "out of memory"};
    } catch (const std::length_error&) {
        return {Code::out_of_memory, "out of memory"};
    } catch (const std::system_error& error) {
        return {Code::io_error, error.what(), error.code().value()};
    } catch (const std::exception& error) {
        return {Code::unavailable, std::string("unexpected exception: ") + error.what()};
    } catch (...) {
        return {Code::unavailable, "unexpected exception that is not a std::exception"};
    }
}

}  // namespace

Status status_from_current_exception() noexcept {
    try {
        return describe_current_exception();
    } catch (...) {
        return {Code::out_of_memory, "out of memory"};  // fits into the string itself
    }
}

}  // namespace karec
